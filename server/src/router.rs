//! All routes in one table: the router and `/openapi.json` are both made from it.

use crate::{config::Config, error::ApiError, http, rates::Rate, state::AppState};
use axum::{
    Extension, Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware,
    response::Response,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use kith_protocol::{api, frame, limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// The route that becomes a socket; [`http::origin::guard`] stands before it.
const SOCKET: &str = "/v1/socket";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
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
    /// The types of its query, its body and its answer.
    query: Option<Shape>,
    body: Option<Shape>,
    answer: Option<Shape>,
    handler: MethodRouter<AppState>,
}

type Shape = fn(&mut SchemaGenerator) -> Schema;

impl Route {
    fn asks<Q: JsonSchema>(self) -> Self {
        Self { query: Some(Q::json_schema), ..self }
    }

    fn takes<B: JsonSchema>(self) -> Self {
        Self { body: Some(SchemaGenerator::subschema_for::<B>), ..self }
    }

    fn gives<A: JsonSchema>(self) -> Self {
        Self { answer: Some(SchemaGenerator::subschema_for::<A>), ..self }
    }
}

fn open(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<AppState>,
) -> Route {
    Route {
        method,
        path,
        access: Access::Open,
        rate: None,
        summary,
        query: None,
        body: None,
        answer: None,
        handler,
    }
}

fn signed_in(
    method: &'static str,
    path: &'static str,
    rate: &'static str,
    summary: &'static str,
    handler: MethodRouter<AppState>,
) -> Route {
    let rate = Some(Rate(rate));
    Route {
        method,
        path,
        access: Access::SignedIn,
        rate,
        summary,
        query: None,
        body: None,
        answer: None,
        handler,
    }
}

/// The whole HTTP surface.
fn routes() -> Vec<Route> {
    use http::{
        accounts, blocks, conversations, exchange, health, info, me, messages, sessions, socket, users,
    };
    vec![
        open("get", "/v1/info", "What anybody may know of this server", get(info::get))
            .gives::<api::ServerInfo>(),
        open("post", "/v1/accounts", "Make an account", post(accounts::create))
            .takes::<api::CreateAccount>()
            .gives::<api::AccountCreated>(),
        open("post", "/v1/sessions", "Sign in", post(sessions::create))
            .takes::<api::SignIn>()
            .gives::<api::Session>(),
        open("post", "/v1/sessions/refresh", "Exchange a refresh token", post(sessions::refresh))
            .takes::<api::Refresh>()
            .gives::<api::Session>(),
        signed_in("get", "/v1/sessions", "account", "One's own devices", get(sessions::list))
            .gives::<api::List<api::SessionItem>>(),
        signed_in(
            "delete",
            "/v1/sessions",
            "account",
            "Sign all other devices out",
            delete(sessions::revoke_others),
        )
        .takes::<api::RevokeSession>(),
        signed_in("delete", "/v1/sessions/current", "account", "Sign out", delete(sessions::sign_out)),
        signed_in(
            "delete",
            "/v1/sessions/{device}",
            "account",
            "Sign another device out",
            delete(sessions::revoke),
        )
        .takes::<api::RevokeSession>(),
        signed_in("get", "/v1/me", "account", "One's own profile", get(me::get)).gives::<api::Profile>(),
        signed_in("patch", "/v1/me", "account", "Change one's own profile", patch(me::update))
            .takes::<api::UpdateProfile>()
            .gives::<api::Profile>(),
        signed_in("put", "/v1/me/password", "account", "Change one's own password", put(me::change_password))
            .takes::<api::ChangePassword>(),
        signed_in("get", "/v1/users", "users", "Find people", get(users::list))
            .asks::<users::UsersQuery>()
            .gives::<api::List<api::Profile>>(),
        signed_in("get", "/v1/users/{id}", "profiles", "A profile", get(users::get)).gives::<api::Profile>(),
        signed_in("get", "/v1/blocks", "account", "Whom one has blocked", get(blocks::list))
            .asks::<blocks::BlocksQuery>()
            .gives::<api::List<api::Profile>>(),
        signed_in("put", "/v1/blocks/{user}", "account", "Block a person", put(blocks::block)),
        signed_in("delete", "/v1/blocks/{user}", "account", "End a block", delete(blocks::unblock)),
        signed_in("post", "/v1/conversations", "open", "Start a conversation", post(conversations::create))
            .takes::<api::CreateConversation>()
            .gives::<frame::HeadsItem>(),
        signed_in("get", "/v1/conversations", "pull", "One's own conversations", get(conversations::list))
            .asks::<conversations::ListQuery>()
            .gives::<api::List<api::Conversation>>(),
        signed_in("get", "/v1/conversations/{id}", "pull", "A conversation", get(conversations::get))
            .gives::<api::Conversation>(),
        signed_in(
            "delete",
            "/v1/conversations/{id}",
            "state",
            "Leave or hide it",
            delete(conversations::remove),
        ),
        signed_in("get", "/v1/conversations/{id}/messages", "pull", "A page of its log", get(messages::page))
            .asks::<messages::MessagesQuery>()
            .gives::<frame::Page>(),
        signed_in("post", "/v1/conversations/{id}/messages", "send", "Write a message", post(messages::post))
            .takes::<api::PostMessage>()
            .gives::<api::MessagePosted>(),
        signed_in(
            "put",
            "/v1/conversations/{id}/read",
            "state",
            "Move one's read marker",
            put(conversations::mark_read),
        )
        .takes::<api::MarkRead>(),
        signed_in("get", SOCKET, "connect", "The sync protocol as a WebSocket", get(socket::upgrade)),
        signed_in(
            "post",
            "/v1/exchange",
            "exchange",
            "The sync protocol without one",
            post(exchange::exchange),
        )
        .takes::<api::ExchangeRequest>()
        .gives::<api::ExchangeAnswer>(),
        open("get", "/healthz", "Whether the process lives", get(health::alive)),
        open("get", "/readyz", "Whether it can serve", get(health::ready)),
    ]
}

/// Method, path and access of every route, for tests that must not forget one.
pub fn route_list() -> Vec<(&'static str, &'static str, Access)> {
    routes().into_iter().map(|route| (route.method, route.path, route.access)).collect()
}

/// The bytes of a route's body: it is in memory before anybody knows whether the request is allowed.
pub fn body_bytes_max(method: &str, path: &str) -> usize {
    match (method, path) {
        ("post", "/v1/exchange") => limits::HTTP_BODY_BYTES_MAX,
        ("post", "/v1/conversations" | "/v1/conversations/{id}/messages") => limits::INBOUND_FRAME_BYTES_MAX,
        _ => Config::SMALL_BODY_BYTES_MAX,
    }
}

/// Puts the routes together with what all of them share.
pub fn router(state: AppState) -> Router {
    let description = Bytes::from(openapi().to_string());
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
            let limit = DefaultBodyLimit::max(body_bytes_max(route.method, route.path));
            router.route(route.path, handler.layer(limit))
        })
        .route("/openapi.json", get(|| async move { ([(CONTENT_TYPE, "application/json")], description) }))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(Config::SMALL_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), http::deadline::answer_in_time))
        .layer(middleware::map_response(no_store))
        .layer(middleware::from_fn(http::trace::trace))
        .with_state(state)
}

/// No cache keeps an answer: nearly all are one user's alone, and some are tokens.
async fn no_store(mut response: Response) -> Response {
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn unknown_route() -> ApiError {
    ApiError::UnknownRoute
}

/// Describes the routes: methods, parameters, bodies, who may ask, and how refusals look. Shapes come from the types that
/// the handlers read and write.
fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut shapes = SchemaGenerator::new(settings);
    let error = shapes.subschema_for::<api::ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        paths.entry(route.path).or_insert_with(|| json!({}))[route.method] =
            operation(&route, &mut shapes, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Kith", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "securitySchemes": {"access_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": shapes.take_definitions(true),
        },
    })
}

fn operation(route: &Route, shapes: &mut SchemaGenerator, error: &Schema) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if let Some(query) = route.query {
        let shape = query(shapes).to_value();
        for (name, schema) in shape["properties"].as_object().into_iter().flatten() {
            parameters.push(json!({"name": name, "in": "query", "schema": schema}));
        }
    }
    let security = match route.access {
        Access::Open => json!([]),
        Access::SignedIn => json!([{"access_token": []}]),
    };
    let content = |schema: &Schema| json!({"application/json": {"schema": schema}});
    let mut done = json!({"description": "Done"});
    if let Some(answer) = route.answer {
        done["content"] = content(&answer(shapes));
    }
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "security": security,
        "responses": {"2XX": done, "default": {"description": "Refused", "content": content(error)}},
    });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": content(&body(shapes))});
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_description_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let made = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
        if std::env::var_os("KITH_DOCS").is_some_and(|mode| mode == "write") {
            std::fs::write(path, &made).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(checked_in == made, "KITH_DOCS=write cargo test -p kith-server --lib router");
    }

    /// Routes that change something and need no body: their path says it all.
    const BARE: &[&str] = &["/v1/blocks/{user}"];

    /// Whatever changes something by a body says what that looks like, and no reference leads nowhere.
    #[test]
    fn every_body_is_described_and_every_reference_leads_somewhere() {
        let all = openapi();
        for (path, methods) in all["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let has_body = operation["requestBody"].is_object();
                let wants_body = matches!(method.as_str(), "post" | "put" | "patch");
                assert!(has_body || !wants_body || BARE.contains(&path.as_str()), "{method} {path}");
            }
        }
        let text = all.to_string();
        let schemas = all["components"]["schemas"].as_object().unwrap();
        let references = text.split("\"#/components/schemas/").skip(1);
        let names: Vec<&str> = references.map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(names.len() > 30);
        for name in names {
            assert!(schemas.contains_key(name), "{name}");
        }
        assert_eq!(schemas["CreateAccount"]["required"], json!(["username", "password", "display_name"]));
        assert_eq!(schemas["CreateAccount"]["additionalProperties"], false);
    }
}
