// A chat server as most people write it: a room for each conversation, one INSERT for each message, then the room is told.
const { createServer } = require('node:http');
const { Server } = require('socket.io');
const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

async function main() {
  await pool.query(`CREATE TABLE IF NOT EXISTS conversations (id uuid PRIMARY KEY)`);
  await pool.query(`CREATE TABLE IF NOT EXISTS messages (
    id uuid PRIMARY KEY, seq bigserial NOT NULL, conversation_id uuid NOT NULL REFERENCES conversations (id),
    sender_id uuid NOT NULL, content text NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`);
  await pool.query(`CREATE INDEX IF NOT EXISTS messages_by_time ON messages (conversation_id, created_at)`);
  const server = createServer();
  const io = new Server(server, { transports: ['websocket'] });
  io.on('connection', (socket) => {
    const user = socket.handshake.query.user;
    socket.on('join', async (conversation, done) => {
      await pool.query('INSERT INTO conversations VALUES ($1) ON CONFLICT DO NOTHING', [conversation]);
      await socket.join(conversation);
      done({ ok: true });
    });
    socket.on('message', async ({ conversation, id, content }, done) => {
      try {
        const { rows } = await pool.query(
          'INSERT INTO messages (id, conversation_id, sender_id, content) VALUES ($1, $2, $3, $4) RETURNING seq',
          [id, conversation, user, content],
        );
        const seq = Number(rows[0].seq);
        socket.to(conversation).emit('message', { conversation, id, seq, sender: user, content });
        done({ ok: true, id, seq });
      } catch (error) {
        done({ ok: false, error: error.message });
      }
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
}

main();
