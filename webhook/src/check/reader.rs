//! Reads from the API server: in pages, each request with a timeout, and with a clear answer where a person may not read.

use std::fmt;
use std::time::Duration;

use axum::http;
use findings::{Code, Finding, Outcome};
use http_body_util::BodyExt as _;
use kube::api::ListParams;
use kube::core::Request;
use runtime::chain;
use serde_json::Value;

/// The page size of a list. A page of whole pods takes some MiB.
const PAGE: u32 = 500;
/// How many requests may be open at once.
pub(crate) const CONCURRENCY: usize = 8;

/// Reads with the permissions of one person.
#[derive(Clone)]
pub(crate) struct Reader {
    client: kube::Client,
    timeout: Duration,
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It does not exist.
    Absent,
    /// The account lacks the permission. In the words of the API server.
    Forbidden(String),
    /// The request failed otherwise.
    Failed(String),
}

/// What a request reads, in the words of a permission: a verb and a resource.
#[derive(Clone, Debug)]
pub(crate) struct What {
    verb: &'static str,
    resource: String,
}

impl What {
    /// The reading of `resource`, such as `pods/proxy`.
    pub(crate) fn get(resource: impl Into<String>) -> Self {
        Self { verb: "get", resource: resource.into() }
    }

    pub(crate) fn list(resource: impl Into<String>) -> Self {
        Self { verb: "list", resource: resource.into() }
    }

    pub(crate) fn create(resource: impl Into<String>) -> Self {
        Self { verb: "create", resource: resource.into() }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

impl Unread {
    /// The outcome of a check that needed it.
    pub(crate) fn outcome(&self, what: &What) -> Outcome {
        match self {
            Self::Absent => Outcome::Skipped("it does not exist".to_owned()),
            Self::Forbidden(said) => {
                let problem = format!("your account may not {what}: {said}");
                let fix = format!("Grant the permission to {what}, or run the command with another account.");
                Outcome::Found(Finding::new(Code::MayNotRead, problem, fix))
            }
            Self::Failed(said) => Outcome::Skipped(format!("the request to {what} failed: {said}")),
        }
    }

    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::Absent,
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message.clone()),
            kube::Error::Api(status) => Self::Failed(format!("{} {}", status.code, status.message)),
            error => Self::Failed(chain(error)),
        }
    }
}

impl Reader {
    pub(crate) fn new(client: kube::Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// The client, for questions that are shared with the webhook.
    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The version of the API server, as `(major, minor)`.
    pub(crate) async fn version(&self) -> anyhow::Result<(String, String)> {
        let asked = tokio::time::timeout(self.timeout, self.client.apiserver_version());
        let version = asked.await.map_err(|_elapsed| anyhow::anyhow!("no answer within {:?}", self.timeout))??;
        Ok((version.major, version.minor))
    }

    /// The object at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Unread> {
        self.request(http::Request::get(path).body(Vec::new())).await
    }

    /// The text at `path`.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Unread> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| Unread::Failed(error.to_string()))?;
        self.within(self.client.request_text(request)).await
    }

    /// Creates `object` at `path`: a question to the API server.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, Unread> {
        self.request(post(path, object)).await
    }

    /// Tries to create `object` at `path`, and returns it as it would be stored, with the warnings of the answer.
    pub(crate) async fn try_create(&self, path: &str, object: &Value) -> Result<(Value, Vec<String>), Unread> {
        let failed = |error: &dyn fmt::Display| Unread::Failed(error.to_string());
        let request = post(&format!("{path}?dryRun=All"), object).map_err(|error| failed(&error))?;
        let answer = self.within(self.client.send(request.map(kube::client::Body::from))).await?;
        let warnings = answer.headers().get_all(http::header::WARNING).iter();
        let warnings = warnings.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).collect();
        let status = answer.status();
        let body = tokio::time::timeout(self.timeout, answer.into_body().collect()).await;
        let body = body.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?.to_bytes();
        let object: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
        let said = || object.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        match status {
            status if status.is_success() => Ok((object, warnings)),
            http::StatusCode::FORBIDDEN => Err(Unread::Forbidden(said())),
            status => Err(Unread::Failed(format!("{status}: {}", said()))),
        }
    }

    /// All objects of a list.
    pub(crate) async fn list(&self, path: &str, selected: ListParams) -> Result<Vec<Value>, Unread> {
        let mut all = Vec::new();
        self.pages(path, selected, |page| all.extend(page)).await?;
        Ok(all)
    }

    /// All objects of a list, page by page.
    pub(crate) async fn pages(
        &self,
        path: &str,
        selected: ListParams,
        mut page: impl FnMut(Vec<Value>),
    ) -> Result<(), Unread> {
        let mut selected = selected.limit(PAGE);
        loop {
            let request = Request::new(path).list(&selected).map_err(|error| Unread::Failed(error.to_string()))?;
            let mut list: Value = self.within(self.client.request(request)).await?;
            if let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) {
                page(items);
            }
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                None | Some("") => return Ok(()),
                Some(token) => selected = selected.continue_token(token),
            }
        }
    }

    async fn request(&self, request: http::Result<http::Request<Vec<u8>>>) -> Result<Value, Unread> {
        let request = request.map_err(|error| Unread::Failed(error.to_string()))?;
        self.within(self.client.request(request)).await
    }

    async fn within<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> Result<T, Unread> {
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Unread::of(&error)),
            Err(_elapsed) => Err(Unread::Failed(format!("no answer within {:?}", self.timeout))),
        }
    }
}

fn post(path: &str, object: &Value) -> http::Result<http::Request<Vec<u8>>> {
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    request.body(object.to_string().into_bytes())
}
