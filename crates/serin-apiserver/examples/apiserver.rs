//! The API server on a socket with virtual pods, for trying clients:
//! `cargo run -p serin-apiserver --example apiserver -- 127.0.0.1:7080`.

use std::sync::Arc;
use std::time::Duration;

use serin_apiserver::controllers::Controllers;
use serin_apiserver::http::{Api, serve};
use serin_apiserver::kubelet::{Behaviour, VirtualRuntime};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, WriteOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7080".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
        let crds = ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions");
        for crd in serin_apiserver::crds::traefik_crds() {
            store.create(&crds, "", crd, &WriteOptions::by("serin"))?;
        }
        let pods = VirtualRuntime::new(|_, _| Behaviour {
            ready_after: Duration::from_millis(100),
            ..Behaviour::default()
        });
        let controllers = Controllers::new(
            Arc::new(store.clone()),
            Arc::new(pods),
            Arc::new(jiff::Timestamp::now),
        );
        tokio::spawn(controllers.run(std::future::pending()));
        serve(listener, Api::new(store)).await;
        Ok(())
    })
}
