//! Relays the requests of SSH clients in the guest to the host over the standard streams of a process of its own: this program
//! once more, which a RUN with `--mount=type=ssh` starts beside its command. The host alone decides what is answered.
//!
//! Both streams carry the messages of the SSH agent protocol as they are (draft-ietf-sshm-ssh-agent §4): a length of four
//! bytes, then as many bytes. A request is followed by its answer. The first message says that the socket listens; it is empty.

use crate::sys;
use std::fs;
use std::io::{stdin, stdout, Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::thread::Builder;

/// Largest message, as in OpenSSH (AGENT_MAX_LEN).
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Connections that are served at once; others wait until one of these ends.
const CONNECTIONS_MAX: usize = 16;
const STACK_BYTES: usize = 128 * 1024;

/// Serves a socket until the host closes our input. The settings are its path, its mode in octal digits, and the owner's uid
/// and gid.
pub fn relay(settings: &[String]) -> Result<()> {
    let (path, mode, uid, gid) = match settings {
        [path, mode, uid, gid] => (path, number(mode, 8)?, number(uid, 10)?, number(gid, 10)?),
        _ => return Err(Error::new(ErrorKind::InvalidInput, "ssh-relay: PATH MODE UID GID")),
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    sys::change_owner(&sys::c(path.as_bytes())?, uid, gid)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    send(&mut stdout(), &[])?;
    let host = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS_MAX {
            let serve = || {
                while let Ok((client, _)) = listener.accept() {
                    let _ = answer(client, &host);
                }
            };
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, serve)?;
        }
        Ok(())
    })
}

fn number(text: &str, base: u32) -> Result<u32> {
    u32::from_str_radix(text, base).map_err(|error| Error::new(ErrorKind::InvalidInput, error))
}

/// Passes the requests of one client on, one after the other, until it closes its connection.
fn answer(mut client: UnixStream, host: &Mutex<()>) -> Result<()> {
    loop {
        let request = receive(&mut client)?;
        let answer = {
            // Nothing panics while it is held.
            let _turn = host.lock();
            let answer = send(&mut stdout(), &request).and_then(|()| receive(&mut stdin()));
            answer.unwrap_or_else(|_| std::process::exit(0))
        };
        send(&mut client, &answer)?;
    }
}

fn receive(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "a message is too large"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn send(to: &mut impl Write, message: &[u8]) -> Result<()> {
    let head = (message.len() as u32).to_be_bytes();
    to.write_all(&[&head, message].concat())?;
    to.flush()
}
