//! Who the controller is at Amazon, by the variables that EKS, ECS or an administrator sets; read once, at the start.

use std::path::PathBuf;

use serin_providers::{Aws, AwsKeys};

/// Where ECS keeps its keys; it names only a path there.
const ECS: &str = "http://169.254.170.2";

/// The identity, and the file of the token that goes with it. In the order of Amazon's own clients.
pub fn identity(variable: impl Fn(&str) -> Option<String>) -> (Aws, Option<PathBuf>) {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        let session_token = set("AWS_SESSION_TOKEN");
        return (Aws::Keys(AwsKeys { id, secret, session_token }), None);
    }
    if let (Some(role), Some(file)) = (set("AWS_ROLE_ARN"), set("AWS_WEB_IDENTITY_TOKEN_FILE")) {
        let session = set("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "serin".to_owned());
        return (Aws::WebIdentity { role, session }, Some(file.into()));
    }
    let relative = set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{ECS}{path}"));
    if let Some(url) = relative.or_else(|| set("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        let file: Option<PathBuf> = set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Into::into);
        return (Aws::Container { url, has_token: file.is_some() }, file);
    }
    (Aws::NoCredentials, None)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(variables: &[(&str, &str)], expected: Expect) {
        let (aws, file) = identity(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let more = match &aws {
            Aws::NoCredentials | Aws::Elsewhere => String::new(),
            Aws::Keys(keys) => format!("{} {}", keys.id, keys.session_token.is_some()),
            Aws::WebIdentity { role, session } => format!("{role} {session}"),
            Aws::Container { url, has_token } => format!("{url} {has_token}"),
        };
        let file = file.unwrap_or_default();
        expected.assert_eq(format!("{aws:?} {more} {}", file.display()).trim());
    }

    #[test]
    fn the_surroundings_say_who_the_controller_is() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
        let role = [
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/serin"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ];
        let pod = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/run/pod-token"),
        ];
        check(&[], expect!["NoCredentials"]);
        check(
            &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "")],
            expect!["NoCredentials"],
        );
        check(&keys, expect!["Keys id false"]);
        check(&role, expect!["WebIdentity arn:aws:iam::1:role/serin serin /var/run/token"]);
        check(
            &pod,
            expect!["Container http://169.254.170.23/v1/credentials true /var/run/pod-token"],
        );
        check(
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1")],
            expect!["Container http://169.254.170.2/v2/credentials/1 false"],
        );
        check(&[&role[..], &keys[..], &pod[..]].concat(), expect!["Keys id false"]);
        check(
            &[&pod[..], &role[..]].concat(),
            expect!["WebIdentity arn:aws:iam::1:role/serin serin /var/run/token"],
        );
    }
}
