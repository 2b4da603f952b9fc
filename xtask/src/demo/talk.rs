//! A short talk through the real windows: online, offline, back. Pictures are taken on the way.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{
    Place, Server, arguments_of,
    people::{Person, WINDOWS},
};
use crate::{
    desk::Desk,
    process::{built, root},
    webdriver::Window,
};

const ENTER: &str = "\u{e007}";
const COMPOSER: &str = "[data-testid='composer-input']";
const LINK: &str = "[data-testid='link-state']";
const MESSAGE: &str = "[data-testid='message']";
const ROW: &str = "[data-testid='conversation-row']";
const QUEUED: &str = "[data-testid='message'][data-state='queued']";

const SAW: &str = "Hi Bo! You still have that saw, do you?";
const TWO: &str = "Two, even. What happened?";
const SHELF: &str = "A shelf. It is a hand longer than the wall.";
const GONE: &str = "Is it me, or is the network gone? I write on anyway.";
const BRING: &str = "I bring the saw on Saturday, before the train.";
const ARRIVED: &str = "Everything has arrived. See you on Saturday!";

/// Where the pictures go.
pub fn pictures() -> PathBuf {
    root().join("target").join("demo")
}

/// Somebody at a window.
pub struct Talker {
    window: Window,
    person: &'static Person,
    folder: PathBuf,
    /// Follows each line of a repeated talk, so that nobody takes an old line for a new one.
    again: String,
}

impl Talker {
    fn open(place: &Place, desk: &Desk, server: &Server, person: &'static Person) -> Result<Self> {
        let mut arguments = arguments_of(place, server, person);
        // In the safe way WebKit's driver waits for its own picture for ever.
        arguments.push("--safe-rendering=false".to_owned());
        let window = Window::open(desk, &built("kith"), &arguments)?;
        window.find(&state("connected"))?;
        window.sees(ROW, "Cleo")?;
        println!("{} has a window", person.display_name);
        let again = match place.talks() {
            1 => String::new(),
            number => format!(" ({number})"),
        };
        Ok(Self { window, person, folder: pictures(), again })
    }

    fn say(&self, text: &str) -> Result<()> {
        println!("{}: {text}", self.person.display_name);
        self.window.keys(COMPOSER, &format!("{text}{}{ENTER}", self.again))?;
        self.sees(text)
    }

    fn sees(&self, text: &str) -> Result<()> {
        self.window.sees(MESSAGE, &format!("{text}{}", self.again))
    }

    fn picture(&self, name: &str) -> Result<()> {
        let path = self.folder.join(format!("{name}-{}.png", self.person.profile));
        self.window.picture(&path)?;
        println!("  {}", shown(&path));
        Ok(())
    }

    /// Opens the conversation with the other one, or starts it.
    fn turn_to(&self, other: &Person, first: &str) -> Result<()> {
        self.window.click("[data-testid='new-chat-button']")?;
        self.window.keys("[data-testid='new-chat-query']", other.username)?;
        self.window.click(&format!("[data-testid='person-row'][data-username='{}']", other.username))?;
        // People who have talked before get their conversation at once, others a place for the first message.
        if self.window.either("[data-testid='first-message']", COMPOSER)? {
            println!("{}: {first}", self.person.display_name);
            self.window.keys("[data-testid='first-message']", &format!("{first}{}", self.again))?;
            self.window.click("[data-testid='first-message-send']")?;
            return self.sees(first);
        }
        self.say(first)
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn state(state: &str) -> String {
    format!("{LINK}[data-state='{state}']")
}

/// Opens both windows, and waits until they are connected and show what there is.
pub fn open(place: &Place, desk: &Desk, server: &Server) -> Result<[Talker; 2]> {
    std::fs::create_dir_all(pictures())?;
    place.count_talk()?;
    let [ada, bo] = WINDOWS.map(|person| Talker::open(place, desk, server, person));
    Ok([ada?, bo?])
}

pub fn play([ada, bo]: [Talker; 2], server: &mut Server) -> Result<()> {
    let result = talk(&ada, &bo, server);
    if result.is_err() {
        // What the windows show says more than what was waited for.
        both(&ada, &bo, "failed")?;
    }
    result
}

fn talk(ada: &Talker, bo: &Talker, server: &mut Server) -> Result<()> {
    both(ada, bo, "1-start")?;

    ada.turn_to(bo.person, SAW)?;
    bo.window.click_on(ROW, ada.person.display_name)?;
    bo.sees(SAW)?;
    bo.say(TWO)?;
    ada.sees(TWO)?;
    ada.say(SHELF)?;
    bo.sees(SHELF)?;
    both(ada, bo, "2-online")?;

    println!("The server goes away.");
    server.pause();
    for talker in [ada, bo] {
        talker.window.find(&state("offline"))?;
    }
    ada.say(GONE)?;
    bo.say(BRING)?;
    for talker in [ada, bo] {
        talker.window.find(QUEUED)?;
    }
    both(ada, bo, "3-offline")?;

    println!("The server is back.");
    server.resume()?;
    for talker in [ada, bo] {
        talker.window.find(&state("connected"))?;
    }
    ada.sees(BRING)?;
    bo.sees(GONE)?;
    ada.say(ARRIVED)?;
    bo.sees(ARRIVED)?;
    both(ada, bo, "4-back")
}

fn both(ada: &Talker, bo: &Talker, name: &str) -> Result<()> {
    ada.picture(name)?;
    bo.picture(name)
}
