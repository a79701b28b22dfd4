//! Copies of requests for mirrors: bounded in memory and in number, their answers read and forgotten.

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::runtime::BodyCopy;
use crate::http_server::{Body, BoxError, full};

/// The body to pass on, and the copy if the whole body fits into `limit`.
///
/// What is longer is passed on in full, but not copied.
pub(super) async fn copy(
    mut body: Body,
    limit: BodyCopy,
) -> Result<(Body, Option<Bytes>), BoxError> {
    let BodyCopy::UpTo(limit) = limit else { return Ok((body, Some(Bytes::new()))) };
    let mut copied = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => copied.extend_from_slice(&data),
            // Trailers end the body; they are passed on to nobody.
            Err(_) => continue,
        }
        if copied.len() > limit {
            let first = copied.freeze();
            let begun = stream::iter([Ok::<_, BoxError>(Frame::data(first))]);
            let rest = stream::unfold(body, |mut body| async move {
                let frame = body.frame().await?;
                Some((frame, body))
            });
            let whole = StreamBody::new(futures::StreamExt::chain(begun, rest));
            return Ok((whole.boxed_unsync(), None));
        }
    }
    let copied = copied.freeze();
    Ok((full(copied.clone()), Some(copied)))
}
