//! A client whose patches wait until the test lets them through. It stands for a replica that is slow at the worst moment.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::{Method, Request, Response};
use kube::client::Body;
use tokio::sync::Notify;
use tower_service::Service;

/// Holds the patches, and records their answers.
#[derive(Clone, Debug, Default)]
pub struct Held {
    arrived: Arc<Notify>,
    go: Arc<Notify>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Held {
    /// Wraps `client`: each patch waits until it is let through.
    pub fn client(&self, client: kube::Client) -> kube::Client {
        kube::Client::new(Slow { client, held: self.clone() }, "default")
    }

    /// Waits until a patch is held.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets one patch through.
    pub fn let_through(&self) {
        self.go.notify_one();
    }

    /// The API server's answers to the patches.
    pub fn answers(&self) -> Vec<u16> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Slow {
    client: kube::Client,
    held: Held,
}

impl Service<Request<Body>> for Slow {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, held } = self.clone();
        Box::pin(async move {
            let is_patch = request.method() == Method::PATCH;
            if is_patch {
                held.arrived.notify_one();
                held.go.notified().await;
            }
            let answer = client.send(request).await?;
            if is_patch {
                held.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer.status().as_u16());
            }
            Ok(answer)
        })
    }
}
