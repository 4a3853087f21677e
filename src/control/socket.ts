/**
 * The control socket of a mount: a unix socket for the mount's user alone, found by the mount point.
 *
 * It lies in the runtime directory of its user (/run/mortar for root), named by a hash of the mount point and
 * the process, so that a mount over another one has its own. Whoever looks for a mount asks the newest that
 * answers, and removes those whose process is gone. One question and one answer a connection.
 */

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { type Answer, type Command, QUESTION_BYTES_MAX, type Question, type Reply } from "./messages.ts";

/** A connection that says nothing for so long is ended. */
const IDLE_MS = 10_000;
/** How long an answer may take: longer than a switch of graphs does at worst. */
const ANSWER_MS = 120_000;

/** Where the sockets of this user's mounts are. */
export function controlDirectory(): string {
  if (process.getuid?.() === 0) return "/run/mortar";
  const runtime = process.env["XDG_RUNTIME_DIR"];
  return runtime ? join(runtime, "mortar") : join(homedir(), ".local", "state", "mortar", "run");
}

/** A control socket that is being served. */
export interface ControlSocket {
  readonly path: string;
  close(): void;
}

/**
 * Serves questions; resolves when they can be asked. Rejects with UserError when the socket cannot be made: a
 * mount works without it.
 */
export async function serveControl(
  mountpoint: string,
  answer: (question: unknown) => Promise<unknown>,
  log: Logger,
  directory = controlDirectory(),
): Promise<ControlSocket> {
  const path = join(directory, `${nameOf(mountpoint)}-${process.pid}.sock`);
  const server = createServer({ allowHalfOpen: true }, (socket) => void serveOne(socket, answer, log));
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    chmodSync(directory, 0o700);
    await sweep(directory);
    rmSync(path, { force: true });
    await listen(server, path);
    chmodSync(path, 0o600);
  } catch (error) {
    server.close();
    throw new UserError(`control socket "${path}": ${(error as Error).message}`, { cause: error });
  }
  server.unref();
  return {
    path,
    close() {
      server.close();
      rmSync(path, { force: true });
    },
  };
}

/**
 * Asks the mount at a mount point. Rejects with UserError: no mount of Mortar's is there, or what it
 * answered.
 */
export async function ask<C extends Command>(
  mountpoint: string,
  command: C,
  question: Question<C>,
  directory = controlDirectory(),
): Promise<Answer<C>> {
  const where = placeOf(mountpoint);
  for (const path of socketsOf(where, directory)) {
    const socket = await connect(path);
    if (socket === undefined) {
      // Nobody listens: its process was killed.
      rmSync(path, { force: true });
      continue;
    }
    const reply = await exchange(socket, JSON.stringify({ command, ...question }));
    if (!reply.ok) throw new UserError(`${where}: ${reply.error}`);
    return reply.answer as Answer<C>;
  }
  throw new UserError(`"${where}": no mount of Mortar's is there, or it is another user's`);
}

/**
 * Symbolic links on the way are resolved, the mount point itself is not touched: a dead mount would not
 * answer.
 */
export function placeOf(mountpoint: string): string {
  const absolute = resolve(mountpoint);
  if (absolute === "/") return absolute;
  try {
    return join(realpathSync(dirname(absolute)), basename(absolute));
  } catch {
    return absolute;
  }
}

function nameOf(mountpoint: string): string {
  return createHash("sha256").update(mountpoint).digest("hex").slice(0, 24);
}

/** Removes sockets that nobody listens at any more: their mounts were killed. */
async function sweep(directory: string): Promise<void> {
  const sockets = readdirSync(directory).filter((file) => file.endsWith(".sock"));
  await Promise.all(
    sockets.map(async (file) => {
      const path = join(directory, file);
      // Whatever else is wrong with it is not for this mount to judge.
      const socket = await connect(path).catch(() => "unknown" as const);
      if (socket === undefined) rmSync(path, { force: true });
      else if (socket !== "unknown") socket.destroy();
    }),
  );
}

/** Newest first. */
function socketsOf(mountpoint: string, directory: string): string[] {
  const begin = `${nameOf(mountpoint)}-`;
  try {
    return readdirSync(directory)
      .filter((file) => file.startsWith(begin) && file.endsWith(".sock"))
      .map((file) => ({ path: join(directory, file), madeMs: statSync(join(directory, file)).ctimeMs }))
      .sort((a, b) => b.madeMs - a.madeMs)
      .map(({ path }) => path);
  } catch {
    return [];
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((done, fail) => {
    server.once("error", fail);
    server.listen(path, () => {
      server.removeListener("error", fail);
      done();
    });
  });
}

async function serveOne(
  socket: Socket,
  answer: (question: unknown) => Promise<unknown>,
  log: Logger,
): Promise<void> {
  socket.on("error", () => socket.destroy());
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  const line = await readLine(socket, QUESTION_BYTES_MAX);
  if (line === undefined) {
    socket.destroy();
    return;
  }
  socket.setTimeout(0);
  const reply = await replyTo(line, answer, log);
  socket.end(`${JSON.stringify(reply)}\n`);
}

async function replyTo(
  line: string,
  answer: (question: unknown) => Promise<unknown>,
  log: Logger,
): Promise<Reply> {
  try {
    return { ok: true, answer: await answer(parseQuestion(line)) };
  } catch (error) {
    if (error instanceof UserError) return { ok: false, error: error.message };
    log.error("a question could not be answered", { error });
    return { ok: false, error: `cannot be answered: ${(error as Error).message}; its log says more` };
  }
}

function parseQuestion(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new UserError("control: not a line of JSON");
  }
}

function connect(path: string): Promise<Socket | undefined> {
  return new Promise((done, fail) => {
    const socket = createConnection(path);
    socket.once("connect", () => done(socket));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") done(undefined);
      else fail(new UserError(`control socket "${path}": ${error.message}`));
    });
  });
}

async function exchange(socket: Socket, question: string): Promise<Reply> {
  socket.removeAllListeners("error");
  socket.on("error", () => socket.destroy());
  socket.setTimeout(ANSWER_MS, () => socket.destroy());
  socket.write(`${question}\n`);
  const line = await readLine(socket, Number.POSITIVE_INFINITY);
  socket.destroy();
  if (line === undefined) throw new UserError("the mount ended without an answer");
  return JSON.parse(line) as Reply;
}

/** The first line; undefined when the connection ends before it, or when it is too long. */
function readLine(socket: Socket, bytesMax: number): Promise<string | undefined> {
  return new Promise((done) => {
    const chunks: Buffer[] = [];
    let size = 0;
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (chunk.includes(10)) done(Buffer.concat(chunks).toString("utf8").split("\n")[0]);
      else if (size > bytesMax) done(undefined);
    });
    socket.once("close", () => done(undefined));
    socket.once("end", () => done(undefined));
  });
}
