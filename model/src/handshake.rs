//! The handshake: generations (S8), then heads (S2).

use super::{Connection, REFUSED_ONE_IN, Server, answering};
use kith_protocol::{
    DeviceId, ErrorCode, PROTOCOL_VERSION, ServerFrame, TimestampMs, UserId,
    error::close,
    frame::{Hello, Welcome, WelcomeLimits},
};

impl Server {
    pub(crate) fn hello(
        &mut self,
        connection: u64,
        (user, device): (UserId, DeviceId),
        hello: &Hello,
        request: Option<u64>,
    ) {
        let generation = match self.handshake(connection, device, hello) {
            Ok(generation) => generation,
            Err(code) => {
                self.forks += u64::from(code == ErrorCode::DeviceForked);
                let frame = self.error(code.into());
                self.out.push((connection, answering(frame, request)));
                return;
            }
        };
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.handshake = true;
            let is_listed = |name: &&String| hello.capabilities.contains(name);
            connection.abilities = self.offered.iter().filter(is_listed).cloned().collect();
        }
        let welcome = Welcome {
            reply_to: request,
            connection: connection.to_string(),
            server: "model/1".to_owned(),
            user,
            device,
            generation,
            epoch: self.epoch.to_string(),
            now: TimestampMs(self.now),
            protocol: PROTOCOL_VERSION,
            capabilities: self.offered.clone(),
            limits: WelcomeLimits::default(),
            token_ms: 600_000,
        };
        self.out.push((connection, ServerFrame::Welcome(Box::new(welcome))));
        let heads = self.heads_since(user, hello.cursor.as_deref());
        for part in self.parts(ServerFrame::Heads(heads)) {
            self.out.push((connection, part));
        }
    }

    fn handshake(&mut self, connection: u64, device: DeviceId, hello: &Hello) -> Result<u64, ErrorCode> {
        if hello.protocol != PROTOCOL_VERSION {
            return Err(ErrorCode::UpgradeRequired);
        }
        if hello.device != device {
            return Err(ErrorCode::Invalid);
        }
        if self.strikes(REFUSED_ONE_IN) {
            return Err(self.transient_code());
        }
        self.generation(connection, device, hello.generation).ok_or(ErrorCode::DeviceForked)
    }

    /// The generation of a `welcome`; `None` for a copied profile. A greater one is from before a restore.
    fn generation(&mut self, connection: u64, device: DeviceId, presented: u64) -> Option<u64> {
        let (issued, before) = self.generations.get(&device).copied().unwrap_or((0, 0));
        if presented < issued && presented != before {
            return None;
        }
        let is_socket = |one: &Connection| one.is_socket;
        if !self.connections.get(&connection).is_some_and(is_socket) {
            return Some(presented);
        }
        let next = issued.max(presented) + 1;
        self.generations.insert(device, (next, presented));
        let older = self.connections.iter().filter(|(number, one)| {
            **number != connection && one.device == device && one.is_socket && one.handshake
        });
        let older: Vec<u64> = older.map(|(number, _)| *number).collect();
        for number in older {
            self.connections.remove(&number);
            self.focus.remove(&number);
            self.closed.push((number, close::REPLACED));
        }
        Some(next)
    }
}
