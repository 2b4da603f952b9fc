//! All routes in one table: the router and `/openapi.json` are both made from it.

use crate::{config::Config, error::ApiError, http, rates::Rate, state::AppState, telemetry};
use axum::{
    Extension, Json, Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use kith_protocol::ErrorCode;
use serde_json::{Map, Value, json};

/// The route that becomes a socket; [`http::origin::guard`] stands before it.
const SOCKET: &str = "/v1/socket";

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever sends a good access token.
    SignedIn,
}

/// One row of the table.
struct Route {
    method: &'static str,
    path: &'static str,
    access: Access,
    /// What it counts for among its device's rates (L2); nothing where no device is known.
    rate: Option<Rate>,
    summary: &'static str,
    handler: MethodRouter<AppState>,
}

fn open(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<AppState>,
) -> Route {
    Route { method, path, access: Access::Open, rate: None, summary, handler }
}

fn signed_in(
    method: &'static str,
    path: &'static str,
    rate: &'static str,
    summary: &'static str,
    handler: MethodRouter<AppState>,
) -> Route {
    Route { method, path, access: Access::SignedIn, rate: Some(Rate(rate)), summary, handler }
}

/// The whole HTTP surface.
fn routes() -> Vec<Route> {
    use http::{accounts, conversations, exchange, health, info, me, messages, sessions, socket, users};
    vec![
        open("get", "/v1/info", "What anybody may know of this server", get(info::get)),
        open("post", "/v1/accounts", "Make an account", post(accounts::create)),
        open("post", "/v1/sessions", "Sign in", post(sessions::create)),
        open("post", "/v1/sessions/refresh", "Exchange a refresh token", post(sessions::refresh)),
        signed_in("get", "/v1/sessions", "account", "One's own devices", get(sessions::list)),
        signed_in(
            "delete",
            "/v1/sessions",
            "account",
            "Sign all other devices out",
            delete(sessions::revoke_others),
        ),
        signed_in("delete", "/v1/sessions/current", "account", "Sign out", delete(sessions::sign_out)),
        signed_in(
            "delete",
            "/v1/sessions/{device}",
            "account",
            "Sign another device out",
            delete(sessions::revoke),
        ),
        signed_in("get", "/v1/me", "account", "One's own profile", get(me::get)),
        signed_in("patch", "/v1/me", "account", "Change one's own profile", patch(me::update)),
        signed_in("put", "/v1/me/password", "account", "Change one's own password", put(me::change_password)),
        signed_in("get", "/v1/users", "users", "Find people", get(users::list)),
        signed_in("get", "/v1/users/{id}", "profiles", "A profile", get(users::get)),
        signed_in("post", "/v1/conversations", "open", "Start a conversation", post(conversations::create)),
        signed_in("get", "/v1/conversations", "pull", "One's own conversations", get(conversations::list)),
        signed_in("get", "/v1/conversations/{id}", "pull", "A conversation", get(conversations::get)),
        signed_in(
            "delete",
            "/v1/conversations/{id}",
            "state",
            "Leave or hide it",
            delete(conversations::remove),
        ),
        signed_in("get", "/v1/conversations/{id}/messages", "pull", "A page of its log", get(messages::page)),
        signed_in("post", "/v1/conversations/{id}/messages", "send", "Write a message", post(messages::post)),
        signed_in(
            "put",
            "/v1/conversations/{id}/read",
            "state",
            "Move one's read marker",
            put(conversations::mark_read),
        ),
        signed_in("get", SOCKET, "connect", "The sync protocol as a WebSocket", get(socket::upgrade)),
        signed_in(
            "post",
            "/v1/exchange",
            "exchange",
            "The sync protocol without one",
            post(exchange::exchange),
        ),
        open("get", "/healthz", "Whether the process lives", get(health::alive)),
        open("get", "/readyz", "Whether it can serve", get(health::ready)),
    ]
}

/// Method, path and access of every route, for tests that must not forget one.
pub fn route_list() -> Vec<(&'static str, &'static str, Access)> {
    routes().into_iter().map(|route| (route.method, route.path, route.access)).collect()
}

/// Puts the routes together with what all of them share.
pub fn router(state: AppState) -> Router {
    let description = Json(openapi());
    routes()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let guard = middleware::from_fn_with_state(state.clone(), http::origin::guard);
            let is_socket = route.path == SOCKET;
            let handler = if is_socket { route.handler.layer(guard) } else { route.handler };
            let handler = match route.rate {
                Some(rate) => handler.layer(Extension(rate)),
                None => handler,
            };
            router.route(route.path, handler)
        })
        .route("/openapi.json", get(|| async move { description }))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(Config::BODY_BYTES_MAX))
        .layer(middleware::from_fn(telemetry::trace))
        .with_state(state)
}

async fn unknown_route() -> ApiError {
    ApiError::UnknownRoute
}

/// Describes the routes: methods, parameters in the path, who may ask, and how refusals look.
fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let parameters: Vec<Value> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let security = match route.access {
            Access::Open => json!([]),
            Access::SignedIn => json!([{"access_token": []}]),
        };
        let refused = json!({
            "description": "Refused",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        });
        let operation = json!({
            "summary": route.summary,
            "parameters": parameters,
            "security": security,
            "responses": {"2XX": {"description": "Done"}, "default": refused},
        });
        paths.entry(route.path).or_insert_with(|| json!({}))[route.method] = operation;
    }
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Kith", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "securitySchemes": {"access_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {"Error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"type": "string", "enum": codes},
                    "message": {"type": "string"},
                    "retry_after_ms": {"type": "integer", "minimum": 0},
                },
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_description_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let made = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
        if std::env::var_os("KITH_DOCS").is_some_and(|wish| wish == "write") {
            std::fs::write(path, &made).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(checked_in == made, "KITH_DOCS=write cargo test -p kith-server --lib router");
    }
}
