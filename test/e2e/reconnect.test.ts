/**
 * A brick that goes away under open files and comes back: calls fail with ENOTCONN meanwhile and none hangs;
 * afterwards the same descriptors go on. Every pairing of client and brick; the pairing of GlusterFS with
 * itself proves the expectation.
 */

import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { type Brick, Lab, MAKES, type Mount } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { until } from "../support/wait.ts";

const PING_TIMEOUT_S = 1;
/** GlusterFS tries every 3 s, and a ping may have just been answered when the brick stops. */
const RECONNECT_DEADLINE_MS = 15_000;
/** Nothing may take longer while the brick is away: the ping timeout twice, and room for a busy machine. */
const FAIL_WITHIN_MS = PING_TIMEOUT_S * 2000 + 6000;
const BLOCK = 4096;

const lab = new Lab("reconnect");
afterAll(() => lab.close());

describe.each(MAKES)("a %s client", (client) => {
  describe.each(MAKES)("of a %s brick", (server) => {
    let brick: Brick;
    let mount: Mount;
    let agent: FileAgent;
    const at = (name: string): string => join(mount.mountpoint, name);

    beforeAll(async () => {
      brick = await lab.startBrick(server, lab.makeBrickDirectory("brick"));
      mount = await lab.mountBrick(client, brick, [`ping-timeout ${PING_TIMEOUT_S}`]);
    });
    beforeEach(async () => {
      agent = lab.agent({ timeoutMs: FAIL_WITHIN_MS });
      if (brick.process.exit !== undefined) await lab.restartBrick(brick);
      await served();
    });
    afterEach(() => agent.process.kill());

    /** The client is back; it may still fail once with the error of the lost connection. */
    async function served(): Promise<void> {
      await until("the mount serves again", async () => (await codeOf(agent.stat(at(".")))) === "ok", {
        deadlineMs: RECONNECT_DEADLINE_MS,
      });
    }

    /**
     * These open files go on. GlusterFS serves names again before it has opened its files again: reads fail
     * with EBADFD until then (client-handshake.c). Mortar serves nothing before it has.
     */
    async function reopened(...fds: readonly number[]): Promise<void> {
      if (client === "mortar") return;
      for (const fd of fds)
        await until(
          "the client has opened its files again",
          async () => (await codeOf(agent.fsync(fd))) === "ok",
          {
            deadlineMs: RECONNECT_DEADLINE_MS,
          },
        );
    }

    it("fails calls with ENOTCONN while the brick is dead, then goes on with the same open files", async () => {
      const first = pattern(BLOCK);
      const second = pattern(BLOCK).reverse();
      const direct = await agent.open(at("direct"), "O_RDWR|O_CREAT|O_EXCL|O_DIRECT");
      const appended = await agent.open(at("appended"), "O_RDWR|O_CREAT|O_APPEND");
      const readOnly = await agent.open(at("appended"), "O_RDONLY");
      await agent.write(direct, first, 0);
      await agent.write(appended, "before ", 0);
      await agent.fsync(appended);

      await brick.process.kill();
      for (const call of [
        () => agent.write(direct, second, BLOCK),
        () => agent.read(direct, BLOCK, 0),
        () => agent.fsync(direct),
        () => agent.stat(at("direct")),
        () => agent.open(at("new"), "O_RDWR|O_CREAT"),
        () => agent.list(at(".")),
        () => agent.rename(at("direct"), at("other")),
        () => agent.statfs(at(".")),
      ])
        expect(await codeOf(call())).toBe("ENOTCONN");
      // GlusterFS looks for the brick's fd number before it looks at the connection.
      const lost = client === "mortar" ? "ENOTCONN" : "EBADFD";
      expect(await codeOf(agent.ftruncate(direct, 0))).toBe(lost);
      expect(await codeOf(agent.fallocate(direct, 0, 0, BLOCK))).toBe(lost);

      await lab.restartBrick(brick);
      await served();
      await reopened(direct, appended, readOnly);
      expectSameBytes(await agent.read(direct, 2 * BLOCK, 0), first);
      expect(await agent.write(direct, second, BLOCK)).toBe(BLOCK);
      await agent.fsync(direct);
      expectSameBytes(await agent.read(direct, 2 * BLOCK, 0), Buffer.concat([first, second]));
      await agent.write(appended, "after", 0);
      expect((await agent.read(readOnly, 100, 0)).toString()).toBe("before after");
      await agent.ftruncate(direct, BLOCK);
      await agent.fallocate(direct, 0, 0, 4 * BLOCK);
      expect((await agent.fstat(direct)).size).toBe(4 * BLOCK);
      expect(await agent.lock({ fd: direct, kind: "ofd", type: "write", start: 0, length: 0 })).toBe(true);
      expect(await agent.list(at("."))).toEqual(["appended", "direct"]);
      for (const fd of [direct, appended, readOnly]) await agent.close(fd);
    });

    it("fails a lock that waits when the brick dies", async () => {
      const holder = lab.agent();
      const waiter = lab.agent({ timeoutMs: FAIL_WITHIN_MS });
      const all = { kind: "posix", type: "write", start: 0, length: 0 } as const;
      const held = await holder.open(at("locked"), "O_RDWR|O_CREAT");
      expect(await holder.lock({ fd: held, ...all })).toBe(true);
      const wanted = await waiter.open(at("locked"), "O_RDWR");
      expect(await waiter.lock({ fd: wanted, ...all })).toBe(false);
      const waits = codeOf(waiter.lock({ fd: wanted, ...all, wait: true }));
      await until("the lock waits", () => waiter.isBlocked());
      await brick.process.kill();
      expect(await waits).toBe("ENOTCONN");
      await holder.process.kill();
      await waiter.process.kill();
    });

    it("gives up on a brick that is stopped after the ping timeout, and goes on when it continues", async () => {
      const data = pattern(BLOCK);
      const fd = await agent.open(at("stalled"), "O_RDWR|O_CREAT|O_DIRECT");
      await agent.write(fd, data, 0);
      await brick.process.freeze();
      try {
        expect(await codeOf(agent.write(fd, data, BLOCK))).toBe("ENOTCONN");
        expect(await codeOf(agent.stat(at("stalled")))).toBe("ENOTCONN");
      } finally {
        brick.process.signal("SIGCONT");
      }
      await served();
      await reopened(fd);
      expect(await agent.write(fd, data, BLOCK)).toBe(BLOCK);
      expectSameBytes(await agent.read(fd, 2 * BLOCK, 0), Buffer.concat([data, data]));
      await agent.close(fd);
    });

    it("unmounts cleanly while the brick is away", async () => {
      await brick.process.kill();
      expect(await codeOf(agent.stat(at(".")))).toBe("ENOTCONN");
      await agent.process.kill();
      await lab.unmount(mount);
      expect(mount.process.exit).toMatchObject({ signal: null, code: client === "mortar" ? 0 : 15 });
    });
  });
});
