//! The authorisation matrix: who may do what, for every route and every frame that there is.
//!
//! The columns are the people below, the rows come from the router's table and from the list of frame types: a new one
//! without a row fails. In every cell the answer is as the row says, it holds nothing that is not the asker's to see, and
//! one that is refused has changed nothing, told nobody, and looks the same for an id that does not exist.

mod rows;
mod stage;

use kith_protocol::ClientFrame;
use kith_server::router::route_list;
use rows::{Frame, Route, frame, route};
use serde_json::{Value, json};
use stage::{AFTER, BEFORE, Cell, Stage, Who};

/// What an answer holds of the conversation may be seen by this person.
fn holds_nothing_foreign(who: Who, text: &str, what: &str) {
    let (sees_before, sees_after) = match who {
        Who::Owner | Who::Member => (true, true),
        Who::ExMember => (true, false),
        Who::Stranger | Who::Disabled | Who::Anonymous | Who::Expired => (false, false),
    };
    assert!(sees_before || !text.contains(BEFORE), "{what}: {text}");
    assert!(sees_after || !text.contains(AFTER), "{what}: {text}");
}

async fn ask(stage: &Stage, cell: &Cell, method: &str, path: &str, route: &Route) -> (String, String) {
    let path = path
        .replace("{device}", &cell.device.to_string())
        .replace("{user}", &stage.bystander.user.to_string())
        .replace("/v1/users/{id}", &format!("/v1/users/{}", cell.owner))
        .replace("{id}", &cell.group.to_string());
    let mut request =
        stage.world.http.request(method.to_uppercase().parse().unwrap(), stage.world.server.url(&path));
    if let Some(person) = &cell.person {
        request = request.bearer_auth(&person.token);
    }
    if let Some(body) = route.body {
        request = request.json(&body(cell));
    }
    if route.is_upgrade {
        request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 101 {
        return ("101".to_owned(), String::new());
    }
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let outcome = match body["code"].as_str() {
        Some(code) if status >= 400 => format!("{status} {code}"),
        _ => status.to_string(),
    };
    (outcome, text)
}

#[tokio::test]
async fn sec_039_every_route_answers_everybody_as_its_row_says() {
    let stage = Stage::build().await;
    for (method, path, _) in route_list() {
        let name = format!("{method} {path}");
        let route = route(&name).unwrap_or_else(|| panic!("{name} needs a row in the matrix"));
        for (who, expected) in Who::ALL.into_iter().zip(route.expected) {
            let mut cell = stage.cell(who).await;
            if name == "post /v1/sessions/refresh" {
                cell.refresh_token = stage.fresh_refresh_token(who).await;
            }
            let what = format!("{name} as {who:?}");
            stage.enter(who, true).await;
            let before = stage.state_of(&cell).await;
            let (outcome, text) = ask(&stage, &cell, method, path, &route).await;
            assert_eq!(outcome, expected, "{what}: {text}");
            holds_nothing_foreign(who, &text, &what);
            if outcome.starts_with('4') {
                assert_eq!(stage.state_of(&cell).await, before, "{what}: what is refused changes nothing");
                let unknown = cell.somewhere_else();
                if route.hides {
                    let answer = ask(&stage, &unknown, method, path, &route).await;
                    assert_eq!(answer, (outcome, text), "{what}: the unknown looks the same");
                }
            }
            stage.enter(who, false).await;
        }
    }
}

/// What became of a frame: the type of its answer, or the code of its refusal.
fn outcome(answer: &Value) -> String {
    let result = &answer["results"][0];
    let word = match answer["type"].as_str() {
        Some("error") => &answer["code"],
        Some("ack") if result["status"] == "error" => &result["code"],
        _ => &answer["type"],
    };
    word.as_str().unwrap().to_owned()
}

/// An answer without what belongs to its request.
fn bare(mut answer: Value) -> Value {
    answer["reply_to"] = Value::Null;
    if let Some(results) = answer["results"].as_array_mut() {
        results.iter_mut().for_each(|result| result["id"] = Value::Null);
    }
    answer
}

/// The HTTP outcome of an exchange with this frame, and the frame's answer.
async fn exchange(stage: &Stage, cell: &Cell, frame: &Frame) -> (String, Value) {
    let mut sent = (frame.frame)(cell);
    sent["request"] = 7.into();
    let hello = cell.person.as_ref().unwrap_or(&stage.owner).hello(0);
    let token = cell.person.as_ref().map(|person| person.token.as_str());
    let body = json!({"frames": [hello, sent]});
    let (status, answer) = stage.world.ask(reqwest::Method::POST, "/v1/exchange", token, Some(body)).await;
    if status != 200 {
        return (format!("{status} {}", answer["code"].as_str().unwrap()), answer);
    }
    let frames = answer["frames"].as_array().unwrap();
    let answer = frames.iter().find(|frame| frame["reply_to"] == 7).unwrap().clone();
    (outcome(&answer), answer)
}

#[tokio::test]
async fn sec_039_sec_034_every_frame_answers_everybody_as_its_row_says() {
    let stage = Stage::build().await;
    for kind in ClientFrame::TYPES {
        let row = frame(kind).unwrap_or_else(|| panic!("{kind} needs a row in the matrix"));
        for (who, expected) in Who::ALL.into_iter().zip(row.expected) {
            let mut cell = stage.cell(who).await;
            let what = format!("{kind} as {who:?}");
            stage.enter(who, true).await;
            let (mut watching, before) = (cell.watching.take().unwrap(), stage.state_of(&cell).await);
            watching.everything().await;
            let (by_exchange, answer) = exchange(&stage, &cell, &row).await;
            assert_eq!(by_exchange, expected, "{what}, by exchange: {answer}");
            holds_nothing_foreign(who, &answer.to_string(), &what);
            if who.is_signed_in() {
                let person = cell.person.as_ref().unwrap();
                let mut line = person.online().await;
                let answer = line.call((row.frame)(&cell)).await;
                assert_eq!(outcome(&answer), expected, "{what}: {answer}");
                holds_nothing_foreign(who, &answer.to_string(), &what);
                if row.hides && answer != Value::Null && outcome(&answer) == "not_member" {
                    let unknown = line.call((row.frame)(&cell.somewhere_else())).await;
                    assert_eq!(bare(unknown), bare(answer), "{what}: the unknown looks the same");
                }
            }
            if ["401 device_revoked", "401 token_invalid", "401 token_expired", "not_member", "id_conflict"]
                .contains(&expected)
            {
                assert_eq!(stage.state_of(&cell).await, before, "{what}: what is refused changes nothing");
                let told = watching.everything().await;
                assert!(told.is_empty(), "{what}: nobody is told: {told:?}");
            }
            stage.enter(who, false).await;
        }
    }
}
