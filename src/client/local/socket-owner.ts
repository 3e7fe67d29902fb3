import { lstatSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { fault } from '../../contract/errors.ts';

/** Mode bits with which the group or others may put something else into a folder. */
const OTHERS_WRITE = 0o022;

/**
 * Passes when the socket of our engine is ours, or not there. Its folder may be in `/tmp`, where anybody could have
 * made it first and wait for what we send. (The kernel knows who listens, SO_PEERCRED of unix(7), but Node does not ask
 * it.) Faults: ENGINE_UNAVAILABLE.
 */
export function checkOwner(socket: string): void {
  const owner = process.getuid?.();
  if (owner === undefined) return;
  const folder = dirname(socket);
  const [about, listening] = [look(folder), look(socket)];
  const refuse = (reason: string): never => {
    throw fault('ENGINE_UNAVAILABLE', { reason });
  };
  if (about !== undefined && !about.isDirectory()) refuse(`${folder} is not a directory`);
  if (about !== undefined && about.uid !== owner) refuse(`${folder} belongs to another user`);
  // Without a socket nothing is sent yet: the engine that is started then takes their rights away.
  if (about === undefined || listening === undefined) return;
  if ((about.mode & OTHERS_WRITE) !== 0) refuse(`other users may write to ${folder}`);
  if (listening.uid !== owner) refuse(`${socket} belongs to another user`);
}

/** Returns the metadata of the name itself; undefined when it does not exist. */
function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
