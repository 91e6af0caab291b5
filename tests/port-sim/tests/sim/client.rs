//! A simple client, independent of the client of the controller.

use std::sync::Once;

use port_sim::{Options, PortSim};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// A stand-in for one test, and a client with a token.
pub struct Port {
    pub sim: PortSim,
    pub http: reqwest::Client,
    pub token: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Asserts that this is an error answer with this status and code, and returns its message.
    pub fn refusal(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["ok"], false, "{self:?}");
        assert_eq!(self.body["error"], code, "{self:?}");
        self.body["message"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub fn http() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().unwrap();
    });
    reqwest::Client::builder().user_agent("port-sim-tests/1.0").no_proxy().build().unwrap()
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    let body = response.json().await.unwrap();
    Answer { status, headers, body }
}

impl Port {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let credentials = json!({"clientId": options.client_id, "clientSecret": options.client_secret});
        let sim = PortSim::start(options).unwrap();
        let http = http();
        let request = http.post(format!("{}/v1/auth/access_token", sim.base_url()));
        let answer = answer(request.json(&credentials)).await;
        assert_eq!(answer.status, 200);
        let token = answer.body["accessToken"].as_str().unwrap().to_owned();
        sim.clear_requests();
        Self { sim, http, token }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.sim.base_url())).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Writes an entity with a query such as `?upsert=true`.
    pub async fn write(&self, blueprint: &str, query: &str, entity: &Value) -> Answer {
        let path = format!("/v1/blueprints/{blueprint}/entities{query}");
        self.post(&path, entity).await
    }

    /// Writes entities in bulk with a query such as `?upsert=true`.
    pub async fn write_bulk(&self, blueprint: &str, query: &str, entities: &Value) -> Answer {
        let path = format!("/v1/blueprints/{blueprint}/entities/bulk{query}");
        self.post(&path, &json!({"entities": entities})).await
    }

    /// Adds a blueprint with these properties, required properties and relations.
    pub fn model(&self, identifier: &str, properties: &Value, required: &Value, relations: &Value) {
        self.sim
            .create_blueprint(&json!({
                "identifier": identifier,
                "title": identifier,
                "schema": {"properties": properties, "required": required},
                "relations": relations,
            }))
            .unwrap();
    }
}
