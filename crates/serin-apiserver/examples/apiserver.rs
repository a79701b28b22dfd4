//! The API alone on a socket, for trying clients: `cargo run -p serin-apiserver --example apiserver -- 127.0.0.1:7080`.

use std::sync::Arc;

use serin_apiserver::http::{Api, serve};
use serin_apiserver::store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7080".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
        serve(listener, Api::new(store)).await;
        Ok(())
    })
}
