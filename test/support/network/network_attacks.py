"""Tries to reach what a guest must not reach. Reads {"tcp": […], "udp": […], "dns": […], "names": […]} from standard input:
tcp and udp are [address, port] pairs, dns are addresses of nameservers to ask over both transports, names are looked up.
Writes what answered and how each of them went."""
import json, socket, struct, sys, threading

wanted = json.load(sys.stdin)
result = {"reached": [], "names": {}, "errors": {}}
TIMEOUT = 6


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def attempt(what, act):
    try:
        if act():
            result["reached"].append(what)
    except OSError as error:
        result["errors"][what] = type(error).__name__


def tcp(address, port, say=b"GET / HTTP/1.0\r\n\r\n"):
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(TIMEOUT)
        s.connect((address, port))
        s.sendall(say)
        return len(s.recv(100)) > 0


def udp(address, port, say=b"hello"):
    with socket.socket(family(address), socket.SOCK_DGRAM) as s:
        s.settimeout(TIMEOUT)
        s.connect((address, port))
        s.send(say)
        return len(s.recv(2000)) > 0


QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01"


def name(text):
    try:
        result["names"][text] = sorted({entry[4][0] for entry in socket.getaddrinfo(text, None)})
    except OSError as error:
        result["names"][text] = type(error).__name__


threads = []
for address, port in wanted.get("tcp", []):
    threads.append(threading.Thread(target=attempt, args=(f"tcp {address} {port}", lambda a=address, p=port: tcp(a, p))))
for address, port in wanted.get("udp", []):
    threads.append(threading.Thread(target=attempt, args=(f"udp {address} {port}", lambda a=address, p=port: udp(a, p))))
for address in wanted.get("dns", []):
    long = struct.pack(">H", len(QUERY)) + QUERY
    threads.append(threading.Thread(target=attempt, args=(f"dns {address} udp", lambda a=address: udp(a, 53, QUERY))))
    threads.append(threading.Thread(target=attempt, args=(f"dns {address} tcp", lambda a=address: tcp(a, 53, long))))
    threads.append(threading.Thread(target=attempt, args=(f"dns {address} tls", lambda a=address: tcp(a, 853, long))))
for text in wanted.get("names", []):
    threads.append(threading.Thread(target=name, args=(text,)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
json.dump(result, sys.stdout)
