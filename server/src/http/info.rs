//! `GET /v1/info`: what anybody may know before signing in.

use crate::{
    config::Signup,
    state::AppState,
    ws::hello::{SERVER, capabilities, limits_in_force},
};
use axum::{Json, extract::State};
use kith_protocol::{PROTOCOL_VERSION, api::ServerInfo};

/// `GET /v1/info`
pub async fn get(State(state): State<AppState>) -> Json<ServerInfo> {
    let signup = match state.config.signup {
        Signup::Open => "open",
        Signup::Invite => "invite",
        Signup::Closed => "closed",
    };
    Json(ServerInfo {
        server: SERVER.to_owned(),
        protocol: PROTOCOL_VERSION,
        signup: signup.to_owned(),
        sockets: state.config.sockets,
        capabilities: capabilities(state.config.offered),
        limits: limits_in_force(),
    })
}
