//! Who lives in the demo, and what they have said to each other.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http;

/// Somebody with an account.
#[derive(Debug)]
pub struct Person {
    pub profile: &'static str,
    pub username: &'static str,
    pub display_name: &'static str,
}

impl Person {
    /// The demo's server listens on this machine alone, and its accounts guard nothing.
    pub fn password(&self) -> String {
        format!("{}-likes-talking", self.username)
    }
}

const ADA: Person = Person { profile: "ada", username: "ada", display_name: "Ada Novak" };
const BO: Person = Person { profile: "bo", username: "bo.lind", display_name: "Bo Lind" };
const CLEO: Person = Person { profile: "cleo", username: "cleo", display_name: "Cleo Marín" };

/// The two with windows.
pub const WINDOWS: [&Person; 2] = [&ADA, &BO];

/// A line of a conversation: who, what.
type Line = (&'static Person, &'static str);

const ADA_AND_CLEO: &[Line] = &[
    (&CLEO, "Morning! Did the new shelves arrive?"),
    (&ADA, "Yes, all four. One is *slightly* longer than the wall 🙈"),
    (&CLEO, "How slightly?"),
    (&ADA, "A hand. Maybe two."),
    (&CLEO, "That is a different wall, then."),
    (&ADA, "Bo has a saw. I will ask him nicely."),
    (&CLEO, "Ask before the coffee, not after."),
    (&ADA, "Noted. Are you still coming on Saturday?"),
    (&CLEO, "Of course. I bring the bread; somebody bring something to put on it."),
    (&ADA, "Olives and that cheese with the ash, as always."),
    (&CLEO, "Then it is settled. See you at ten!"),
];

const BO_AND_CLEO: &[Line] = &[
    (&CLEO, "The timetable changed: the train on Saturday leaves at 9:12."),
    (&BO, "Thanks, I would have waited for the 9:30 and wondered."),
    (&CLEO, "https://www.openstreetmap.org shows the path from the station, too."),
];

const TRIP: &[Line] = &[
    (&CLEO, "I made a list so that nobody brings three kettles again."),
    (&CLEO, "Tent: Bo\nKettle: Ada\nBread and map: me"),
    (&BO, "The tent survived the wash 👍"),
    (&ADA, "Kettle is packed. Does anybody have a spare torch?"),
    (&BO, "Two. One of them even works."),
];

/// Makes the accounts and, where there is none, the history. Repeating it changes nothing.
pub fn settle(address: &str) -> Result<()> {
    let people = [&ADA, &BO, &CLEO];
    let mut fresh = false;
    for person in people {
        let account = json!({
            "username": person.username, "password": person.password(), "display_name": person.display_name
        });
        let answer = http::request("POST", address, "/v1/accounts", None, Some(&account))?;
        fresh |= answer.status == 201;
        ensure!(
            answer.status == 201 || answer.body["code"] == "name_taken",
            "an account for {}: {}",
            person.username,
            answer.body
        );
    }
    let cleo = Visitor::sign_in(address, &CLEO)?;
    if !fresh && cleo.has_conversations()? {
        println!("{}", people.map(|person| person.display_name).join(", "));
        return cleo.leave();
    }
    let (ada, bo) = (Visitor::sign_in(address, &ADA)?, Visitor::sign_in(address, &BO)?);
    let all = [&ada, &bo, &cleo];
    let direct = |with: &Visitor| json!({ "kind": "direct", "members": [with.user] });
    say(&all, &cleo.conversation(&direct(&ada))?, ADA_AND_CLEO)?;
    say(&all, &cleo.conversation(&direct(&bo))?, BO_AND_CLEO)?;
    let trip = json!({ "kind": "group", "members": [ada.user, bo.user], "title": "Saturday trip" });
    say(&all, &cleo.conversation(&trip)?, TRIP)?;
    println!("{} have something to read", people.map(|person| person.display_name).join(", "));
    [ada, bo, cleo].into_iter().try_for_each(Visitor::leave)
}

fn say(all: &[&Visitor; 3], conversation: &str, lines: &[Line]) -> Result<()> {
    for (person, text) in lines {
        let visitor =
            all.iter().find(|visitor| visitor.username == person.username).context("who says that")?;
        let path = format!("/v1/conversations/{conversation}/messages");
        visitor.ask("POST", &path, Some(&json!({ "text": text })))?;
    }
    Ok(())
}

/// Somebody signed in for as long as the history takes to write.
struct Visitor {
    address: String,
    username: &'static str,
    user: String,
    token: String,
}

impl Visitor {
    fn sign_in(address: &str, person: &Person) -> Result<Self> {
        let body = json!({
            "username": person.username, "password": person.password(), "device": { "name": "demo" }
        });
        let session = http::request("POST", address, "/v1/sessions", None, Some(&body))?.ok("signing in")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            address: address.to_owned(),
            username: person.username,
            user: text(&session["user"]["id"]).context("the user's id")?,
            token: text(&session["access_token"]).context("an access token")?,
        })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        http::request(method, &self.address, path, Some(&self.token), body)?.ok(&format!("{method} {path}"))
    }

    fn has_conversations(&self) -> Result<bool> {
        let list = self.ask("GET", "/v1/conversations", None)?;
        Ok(list["items"].as_array().is_some_and(|items| !items.is_empty()))
    }

    fn conversation(&self, body: &Value) -> Result<String> {
        let item = self.ask("POST", "/v1/conversations", Some(body))?;
        item["conversation"].as_str().map(str::to_owned).context("the conversation's id")
    }

    /// Ends the session, so that it is not listed among the person's devices.
    fn leave(self) -> Result<()> {
        self.ask("DELETE", "/v1/sessions/current", None)?;
        Ok(())
    }
}
