//! The store of the node's pods: a real Loki if there is one, else a real `VictoriaLogs`. Both listen on loopback, and the pods
//! reach them by a forwarder that can be closed.

use std::sync::LazyLock;

use harness::free_port;
use harness::node::{OUTSIDE, Parts};
use harness::store::{Entry, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A forwarder outlives the scenario that opens it, and the scenario's runtime.
static WAYS: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A store, and the forwarder to it.
pub(crate) struct Receiver {
    store: Store,
    way: Way,
}

impl Receiver {
    /// Starts a store.
    pub(crate) async fn start(parts: &Parts) -> anyhow::Result<Self> {
        let store = match &parts.loki {
            Some(loki) => Store::loki(loki).await?,
            None => Store::victoria_logs(&parts.victoria_logs).await?,
        };
        let mut receiver = Self { store, way: Way::new()? };
        receiver.way.open_to(&receiver.store).await?;
        Ok(receiver)
    }

    /// The store's name.
    pub(crate) fn name(&self) -> &'static str {
        self.store.name()
    }

    pub(crate) fn push_url(&self) -> String {
        self.way.push_url(self)
    }

    /// The entries of all streams with these labels, each once, oldest first.
    pub(crate) async fn entries(&self, labels: &[(&str, &str)]) -> anyhow::Result<Vec<Entry>> {
        Ok(self.store.stored(labels).await?.entries)
    }
}

/// A forwarder to a store. While it is closed, the store is unreachable and loses nothing.
pub(crate) struct Way {
    address: String,
    open: Option<JoinSet<()>>,
}

impl Way {
    /// A closed forwarder.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { address: format!("{OUTSIDE}:{}", free_port()?), open: None })
    }

    /// The push URL of `receiver` through this forwarder.
    pub(crate) fn push_url(&self, receiver: &Receiver) -> String {
        receiver.store.push_url().replace(&address(&receiver.store), &self.address)
    }

    /// Opens the forwarder.
    pub(crate) async fn open(&mut self, receiver: &Receiver) -> anyhow::Result<()> {
        self.open_to(&receiver.store).await
    }

    async fn open_to(&mut self, store: &Store) -> anyhow::Result<()> {
        let (from, to) = (self.address.clone(), address(store));
        let listener = WAYS.spawn(async move { TcpListener::bind(from).await }).await??;
        let mut tasks = JoinSet::new();
        let forward = async move {
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    let Ok(mut to) = TcpStream::connect(to).await else { return };
                    // Either end may close the connection at any time.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        };
        tasks.spawn_on(forward, WAYS.handle());
        self.open = Some(tasks);
        Ok(())
    }

    /// Closes the forwarder and its open connections.
    pub(crate) async fn close(&mut self) {
        if let Some(mut tasks) = self.open.take() {
            tasks.shutdown().await;
        }
    }
}

/// The address on which a store listens.
fn address(store: &Store) -> String {
    let url = store.push_url();
    url.split('/').nth(2).unwrap_or_default().to_owned()
}
