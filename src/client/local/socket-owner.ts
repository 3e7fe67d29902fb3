import { lstatSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { fault } from '../../contract/errors.ts';

/** Mode bits that let the group or others create files in a folder. */
const OTHERS_WRITE = 0o022;

/**
 * Passes if our engine's socket belongs to us or does not exist. Its folder may be in `/tmp`, where another user could
 * have created it first to receive our requests. (The kernel knows the owner of the listening process, SO_PEERCRED in
 * unix(7), but Node does not expose it.) Faults: ENGINE_UNAVAILABLE.
 */
export function checkOwner(socket: string): void {
  const owner = process.getuid?.();
  if (owner === undefined) return;
  const folder = dirname(socket);
  const about = look(folder);
  const refuse = (reason: string): never => {
    throw fault('ENGINE_UNAVAILABLE', { reason });
  };
  if (about !== undefined && !about.isDirectory()) refuse(`${folder} is not a directory`);
  if (about !== undefined && about.uid !== owner) refuse(`${folder} belongs to another user`);
  // Without a socket nothing has been sent yet, and the engine that is then started corrects the folder's mode.
  const listening = about && look(socket);
  if (about === undefined || listening === undefined) return;
  if ((about.mode & OTHERS_WRITE) !== 0) refuse(`other users may write to ${folder}`);
  if (listening.uid !== owner) refuse(`${socket} belongs to another user`);
}

/** Returns the metadata of the path itself, not of a symlink's target; undefined when it does not exist. */
function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
