//! How the sample application is told what to be: by values, or by the environment a pod has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::Faults;

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub listen: SocketAddr,
    pub app: String,
    pub version: String,
    pub pod: String,
    pub namespace: String,
    pub faults: Faults,
    /// `/readyz` fails for so long after the start.
    pub ready_after: Duration,
    /// The faults begin so long after the start.
    pub faults_after: Duration,
    /// The process fails so long after the start.
    pub exit_after: Option<Duration>,
    /// How long requests in flight may take to end at shutdown.
    pub grace: Duration,
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {value:?} is not {wanted}")]
pub struct SettingError {
    pub name: &'static str,
    pub value: String,
    pub wanted: &'static str,
}

impl Options {
    /// A healthy version at this address.
    pub fn new(listen: SocketAddr, version: impl Into<String>) -> Self {
        Self {
            listen,
            app: "backend".to_owned(),
            version: version.into(),
            pod: "local".to_owned(),
            namespace: "default".to_owned(),
            faults: Faults::default(),
            ready_after: Duration::ZERO,
            faults_after: Duration::ZERO,
            exit_after: None,
            grace: Duration::from_secs(10),
        }
    }

    /// From variables: `HOST` (or `POD_IP`), `PORT`, `APP`, `VERSION` (or `IMAGE_TAG`), `POD_NAME`, `POD_NAMESPACE`,
    /// `ERROR_RATE`, `ERROR_STATUS`, `LATENCY_RATE`, `LATENCY_MS`, `CUT_RATE`, `FAULTS_AT_RANDOM`,
    /// `READY_AFTER_SECS`, `FAULTS_AFTER_SECS`, `EXIT_AFTER_SECS`.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let host = get("HOST").or_else(|| get("POD_IP"));
        let host =
            parsed("HOST", host, "an IP address")?.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = parsed("PORT", get("PORT"), "a port")?.unwrap_or(8080_u16);
        let version =
            get("VERSION").or_else(|| get("IMAGE_TAG")).unwrap_or_else(|| "v1".to_owned());
        let mut options = Self::new(SocketAddr::new(host, port), version);
        for (name, target) in [
            ("APP", &mut options.app),
            ("POD_NAME", &mut options.pod),
            ("POD_NAMESPACE", &mut options.namespace),
        ] {
            if let Some(value) = get(name) {
                *target = value;
            }
        }
        let faults = &mut options.faults;
        let share = "a share between 0 and 1";
        set(&mut faults.error_rate, parsed("ERROR_RATE", get("ERROR_RATE"), share)?);
        set(&mut faults.error_status, parsed("ERROR_STATUS", get("ERROR_STATUS"), "a status")?);
        set(&mut faults.latency_rate, parsed("LATENCY_RATE", get("LATENCY_RATE"), share)?);
        set(&mut faults.latency_ms, parsed("LATENCY_MS", get("LATENCY_MS"), "milliseconds")?);
        set(&mut faults.cut_rate, parsed("CUT_RATE", get("CUT_RATE"), share)?);
        let at_random = parsed("FAULTS_AT_RANDOM", get("FAULTS_AT_RANDOM"), "true or false")?;
        set(&mut faults.at_random, at_random);
        options.faults = options.faults.check()?;
        set(&mut options.ready_after, seconds("READY_AFTER_SECS", get("READY_AFTER_SECS"))?);
        set(&mut options.faults_after, seconds("FAULTS_AFTER_SECS", get("FAULTS_AFTER_SECS"))?);
        options.exit_after = seconds("EXIT_AFTER_SECS", get("EXIT_AFTER_SECS"))?;
        Ok(options)
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn parsed<T: FromStr>(
    name: &'static str,
    value: Option<String>,
    wanted: &'static str,
) -> Result<Option<T>, SettingError> {
    match value {
        None => Ok(None),
        Some(value) => match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(SettingError { name, value, wanted }),
        },
    }
}

fn seconds(name: &'static str, value: Option<String>) -> Result<Option<Duration>, SettingError> {
    let wanted = "a number of seconds";
    match parsed::<f64>(name, value, wanted)? {
        None => Ok(None),
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Ok(Some(duration)),
            Err(_) => Err(SettingError { name, value: seconds.to_string(), wanted }),
        },
    }
}
