//! Golden frames, which the host's tests read as well (test/sandbox/channel/golden.ts), so both ends of the channel agree.

use crate::link::{Address, Network};
use crate::message::*;
use crate::process::{Identity, Unknown};
use crate::sys::{TimeVal, Usage};
use crate::wire::{self, Writer};

fn golden(name: &str) -> Vec<u8> {
    let frames = include_str!("../golden/frames.txt");
    let line = frames.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = line.unwrap_or_else(|| panic!("no golden frame {name}")).as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Decodes a golden frame. Returns the command and the process that it belongs to.
fn decoded(name: &str) -> (u16, Request) {
    let bytes = golden(name);
    let (header, payload, length) = wire::decode(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len(), "{name} is one frame");
    (header.process, decode_request(header.kind, payload).unwrap())
}

/// Asserts that a frame of the agent equals the golden one.
fn check(name: &str, make: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    make(&mut out);
    assert_eq!(out, golden(name), "{name}");
}

#[test]
fn the_host_is_understood() {
    assert_eq!(decoded("start_part"), (1, Request::StartPart(b"part".to_vec())));
    assert_eq!(decoded("stdin"), (1, Request::Stdin(b"in\n".to_vec())));
    assert_eq!(decoded("stdin_close"), (1, Request::StdinClose));
    assert_eq!(decoded("kill"), (258, Request::Kill(15)));
    assert_eq!(decoded("resize"), (1, Request::Resize(120, 40)));
    assert_eq!(decoded("credit"), (0, Request::Credit(65_536)));
    assert_eq!(decoded("changes"), (0, Request::Changes));
    assert_eq!(decoded("connect"), (3, Request::Connect(8_080)));
    assert_eq!(decoded("snapshot"), (0, Request::Snapshot(Step::Take)));
    assert_eq!(decoded("snapshot_accept"), (0, Request::Snapshot(Step::Accept)));
    assert_eq!(decoded("snapshot_cancel"), (0, Request::Snapshot(Step::Cancel)));
}

#[test]
fn setup_is_understood() {
    let address = |last| {
        let mut out = vec![0u8; 16];
        (out[0], out[15]) = (0xfd, last);
        out
    };
    let setup = Setup {
        hostname: b"box".to_vec(),
        clock_ns: 1_800_000_000_123_456_789,
        entropy: b"0123456789abcdef0123456789abcdef".to_vec(),
        disk_bytes: 12 << 30,
        layers: vec![Extent { offset: 0, bytes: 4096 }, Extent { offset: 1 << 40, bytes: 1 << 33 }],
        network: Some(Network {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            ip4: Some(Address { address: vec![10, 0, 2, 15], prefix: 24, gateway: vec![10, 0, 2, 2] }),
            ip6: Some(Address { address: address(0x15), prefix: 64, gateway: address(2) }),
            nameservers: vec![b"10.0.2.3".to_vec(), b"fd00::3".to_vec()],
        }),
    };
    assert_eq!(decoded("setup"), (0, Request::Setup(Box::new(setup))));
    match decoded("setup_offline") {
        (0, Request::Setup(setup)) => assert_eq!((setup.network, setup.hostname), (None, "ü".as_bytes().to_vec())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_is_understood() {
    let command = Command {
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), "echo \"ä\"".as_bytes().to_vec()],
        env: vec![b"PATH=/bin".to_vec(), b"EMPTY=".to_vec()],
        cwd: b"/work".to_vec(),
        uid: 1000,
        gid: 100,
        groups: Vec::new(),
        account: None,
        stdin: true,
        terminal: Some((100, 30)),
    };
    match decoded("start_as") {
        (1, Request::Start(payload)) => {
            let account = decode_command(&payload).unwrap().account;
            assert_eq!(account, Some(Account { user: b"ann:29".to_vec(), home: true }));
        }
        other => panic!("{other:?}"),
    }
    match decoded("start") {
        (1, Request::Start(payload)) => assert_eq!(decode_command(&payload), Ok(command)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guest_speaks_as_agreed() {
    check("hello", |out| encode_hello(out, "6.1.0-56-cloud-amd64", "0.1.0"));
    check("ready", |out| {
        encode_ready(out, "5be178b7-dd3d-4afb-bca3-3dab53525dd1", &[("identity", 1_500), ("layers", 20_000)]);
    });
    check("started", |out| Writer::new(out, kind::STARTED, 1).u32(2).finish());
    check("stdout", |out| Writer::new(out, kind::STDOUT, 1).raw(b"out\n").finish());
    check("stderr", |out| Writer::new(out, kind::STDERR, 1).raw(&[0, 255]).finish());
    check("output_end", |out| Writer::new(out, kind::OUTPUT_END, 1).finish());
    check("stdin_credit", |out| Writer::new(out, kind::STDIN_CREDIT, 1).u32(65_536).finish());
    check("connected", |out| Writer::new(out, kind::CONNECTED, 3).finish());
    check("disconnected", |out| Writer::new(out, kind::DISCONNECTED, 3).u8(2).finish());
    check("user", |out| {
        let identity = Identity { uid: 1000, gid: 29, groups: vec![29], home: b"/home/ann".to_vec() };
        encode_identity(out, 1, &identity);
    });
    check("user_unknown", |out| encode_unknown(out, 1, Unknown::Group));
    check("changes_data", |out| Writer::new(out, kind::CHANGES_DATA, 0).raw(b"tar").finish());
    check("changes_end", |out| encode_changes_end(out, 3, 1, false));
    check("snapshot_end", |out| {
        let end = SnapshotEnd { bytes: 3, entries: 1, frozen_us: 1_500, ..SnapshotEnd::default() };
        encode_snapshot_end(out, &end);
    });
    check("snapshot_failed", |out| {
        let end = SnapshotEnd { failure: "no space".to_string(), ..SnapshotEnd::default() };
        encode_snapshot_end(out, &end);
    });
    check("fault", |out| encode_fault(out, FaultCode::Setup, "no layers"));
    check("exited", |out| {
        let usage = Usage {
            user: TimeVal { sec: 0, usec: 2 },
            system: TimeVal { sec: 0, usec: 3 },
            max_rss_kib: 4,
            minor_faults: 5,
            major_faults: 6,
            voluntary_switches: 7,
            involuntary_switches: 8,
            blocks_in: 9,
            blocks_out: 10,
            ..Usage::default()
        };
        let flags = flag::CORE_DUMP | flag::OUT_OF_MEMORY | flag::DISK_FULL;
        encode_ending(out, 65_535, &Ending { exit_code: -1, signal: 9, flags, duration_us: 1_234_567, usage });
    });
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let mut frame = golden("kill");
    frame[0] = 2;
    assert!(wire::decode(&frame).is_err(), "another version");
    let mut frame = golden("kill");
    frame[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(wire::decode(&frame).is_err(), "4 GB");
    assert!(decode_request(0x7f, &[]).is_err(), "unknown kind");
    assert!(decode_request(0x09, &[]).is_err(), "a kind that is not used any more");
    assert!(decode_request(kind::KILL, &[1, 2]).is_err(), "too long");
    assert!(decode_request(kind::SNAPSHOT, &[3]).is_err(), "an unknown step");
    assert!(decode_request(kind::SETUP, &[255, 255, 255, 255]).is_err(), "a length beyond the payload");
    assert!(decode_command(&[255; 64]).is_err(), "a list beyond the payload");
}

#[test]
fn a_frame_in_parts_is_waited_for() {
    let frame = golden("setup");
    for length in 0..frame.len() {
        assert!(wire::decode(&frame[..length]).unwrap().is_none());
    }
}
