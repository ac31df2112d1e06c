//! The reflector against peers that mean no good.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use agent::measure::{
    clock,
    message::{BODY_MAX, Direction, HEADER, Header},
    stamp::{BASE, ErrorEstimate, Format, Reply, Request},
};

use crate::link::{FAR, Link, ready};

fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((FAR, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

fn request(sequence: u32, format: Format) -> Request {
    let sent_ns = clock::realtime_ns();
    Request { sequence, sent_ns, estimate: ErrorEstimate::ours(format), ssid: 77 }
}

#[test]
fn stamp_is_answered_in_either_format_and_never_amplified() {
    if !ready("stamp_is_answered_in_either_format_and_never_amplified") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let socket = udp(reflector.port);
    let mut buffer = [0; 4096];
    for (format, size) in [(Format::Ntp, BASE), (Format::Ptp, BASE + 1), (Format::Ntp, 1400)] {
        let asked = request(9, format);
        let mut packet = vec![0; size];
        assert!(asked.write(&mut packet));
        socket.send(&packet).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        let reply = Reply::read(&buffer[..length]).unwrap();
        let now = clock::realtime_ns();
        assert_eq!(length, size);
        assert_eq!(reply.estimate.format, format);
        assert_eq!((reply.sender_sequence, reply.sender_sent_ns), (9, asked.sent_ns));
        assert_eq!((reply.sequence, reply.ssid, reply.sender_ttl), (9, 77, 64));
        assert!(asked.sent_ns <= reply.received_ns, "{reply:?}");
        assert!(reply.received_ns <= reply.sent_ns && reply.sent_ns <= now, "{reply:?}");
    }
    let stats = reflector.stop();
    assert_eq!(stats.reflected, 3, "{stats:?}");
}

#[test]
fn hostile_datagrams_get_no_answer_and_are_counted() {
    if !ready("hostile_datagrams_get_no_answer_and_are_counted") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect_as(|config| config.rate_max = Some(1000));
    let socket = udp(reflector.port);
    let mut packet = [0; BASE];
    assert!(request(1, Format::Ntp).write(&mut packet));
    for short in [0, 1, BASE - 1] {
        socket.send(&packet[..short]).unwrap();
    }
    // A PTP time of more than a second's nanoseconds.
    let mut impossible = packet;
    impossible[8..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x4c, 0x01]);
    socket.send(&impossible).unwrap();
    // Some reflector's answer, as if it were a request: two reflectors would never stop.
    let mut reflected = packet;
    assert!(agent::measure::stamp::reflect(&mut reflected, 5, 1));
    socket.send(&reflected).unwrap();
    let mut buffer = [0; 4096];
    assert!(socket.recv(&mut buffer).is_err(), "one of them was answered");
    // More than the source may ask: the first tenth of a second's worth is answered.
    for _ in 0..2000 {
        socket.send(&packet).unwrap();
    }
    let mut answered = 0;
    while socket.recv(&mut buffer).is_ok() {
        answered += 1;
    }
    let stats = reflector.stop();
    println!("{answered} answered, {stats:?}");
    assert_eq!((stats.malformed, stats.refused_loops), (4, 1), "{stats:?}");
    assert!(stats.refused_rate > 1000, "{stats:?}");
    assert_eq!(stats.reflected, answered);
}

#[test]
fn hostile_streams_are_closed_and_the_rest_is_served() {
    if !ready("hostile_streams_are_closed_and_the_rest_is_served") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect_as(|config| {
        config.connections_max = 4;
        config.idle = Duration::from_millis(500);
    });
    let connect = || TcpStream::connect((FAR, reflector.port)).unwrap();
    let closed = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
    };
    for bad in [
        *b"GET / HTTP/1.1\r\nHost: somewhere\n",
        Header::request(BODY_MAX + 1, 0).encode(),
        Header::request(0, 0).encode(),
        Header { direction: Direction::Answer, ..Header::request(1, 0) }.encode(),
    ] {
        let mut stream = connect();
        stream.write_all(&bad).unwrap();
        assert!(closed(&mut stream));
    }
    // Four that say nothing, or not all: their seats are taken until they are timed out.
    let mut silent: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    silent[0].write_all(&Header::request(1000, 0).encode()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    assert!(closed(&mut connect()), "a fifth connection has no seat");
    assert!(began.elapsed() < Duration::from_millis(350), "{:?}", began.elapsed());
    assert!(silent.iter_mut().all(closed), "the idle are timed out");
    // And the reflector still serves: byte by byte, and the largest message.
    let mut stream = connect();
    for length in [1, BODY_MAX] {
        let mut message = vec![0; HEADER + length as usize];
        message[..HEADER].copy_from_slice(&Header::request(length, 42).encode());
        for byte in &message[..HEADER] {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(&message[HEADER..]).unwrap();
        stream.read_exact(&mut message).unwrap();
        let answer = Header::decode(message.first_chunk().unwrap()).unwrap();
        assert_eq!((answer.direction, answer.length), (Direction::Answer, length));
        assert_eq!(answer.sequence, 42);
    }
    let stats = reflector.stop();
    assert_eq!((stats.tcp_malformed, stats.tcp_messages), (4, 2), "{stats:?}");
    assert_eq!((stats.tcp_refused, stats.tcp_timed_out), (1, 4), "{stats:?}");
}
