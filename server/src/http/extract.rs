//! What handlers take from a request, refused in the protocol's own words.

use super::deadline::BodyArrival;
use crate::{
    auth::Authed,
    error::ApiError,
    shares::{Place, RequestPlace},
    state::AppState,
};
use axum::{
    RequestPartsExt,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use kith_protocol::{frame::depth_is_within, limits};
use serde::de::DeserializeOwned;
use std::{str::FromStr, time::Duration};
use tokio::time::timeout;

/// A body that takes longer than this to arrive is given up, however steadily it comes.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// A JSON body: UTF-8, of limited depth, every field known.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(ApiError::invalid("the body is application/json"));
        }
        let arrival = request.extensions().get::<BodyArrival>().cloned().unwrap_or_default();
        let place = request.extensions().get::<RequestPlace>().cloned().unwrap_or_default();
        place.release();
        arrival.begin();
        let arrived = timeout(BODY_WITHIN, Bytes::from_request(request, state)).await;
        arrival.end();
        let bytes = match arrived {
            Err(_) => return Err(ApiError::invalid("the body took too long")),
            Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(ApiError::TooLarge);
            }
            Ok(Err(_)) => return Err(ApiError::invalid("the body broke off")),
            Ok(Ok(bytes)) => bytes,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::invalid("the body is UTF-8"))?;
        if !depth_is_within(text, limits::JSON_DEPTH_MAX) {
            return Err(ApiError::invalid("nested too deeply"));
        }
        place.resume(&state.shares).await?;
        serde_json::from_str(text).map(Self).map_err(|error| ApiError::invalid(error.to_string()))
    }
}

/// A device whose request may have a large body. Its user's place for such a body is taken before the body is read, and
/// kept as long as this value.
pub struct LargeBody {
    pub authed: Authed,
    _place: Place,
}

impl FromRequestParts<AppState> for LargeBody {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let authed = parts.extract_with_state::<Authed, _>(state).await?;
        // The wait for a body of another request uses no connection.
        if let Some(place) = parts.extensions.get::<RequestPlace>() {
            place.release();
        }
        Ok(Self { authed, _place: state.shares.body(authed.user).await? })
    }
}

/// The one id in a route.
pub struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::UnknownRoute)?;
        let (_, text) = params.iter().next().ok_or(ApiError::UnknownRoute)?;
        text.parse().map(Self).map_err(|_| ApiError::invalid("not a valid id"))
    }
}

pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(refused) => {
                debug_assert!(refused.status().is_client_error());
                Err(ApiError::invalid("not a valid query"))
            }
        }
    }
}

/// The number of rows of a list, `default` if the request has none, at most [`limits::LIST_ITEMS_MAX`].
///
/// # Errors
/// `invalid` for 0.
pub fn rows_wanted(limit: Option<u32>, default: u32) -> Result<u32, ApiError> {
    match limit.unwrap_or(default) {
        0 => Err(ApiError::invalid("limit is at least 1")),
        limit => Ok(limit.min(limits::LIST_ITEMS_MAX)),
    }
}

/// 204: done, nothing to say.
pub fn done() -> impl IntoResponse {
    StatusCode::NO_CONTENT
}
