//! Announcements of VIPs as a neighbour sees them; needs root.

mod wire;

use std::{
    collections::BTreeMap,
    io::Read,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_userspace::{
    dataplane::interfaces,
    ownership::{
        announcer::{Announcement, Announcer},
        frames,
    },
};
use nix::{
    net::if_::if_nametoindex,
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt},
        time::TimeVal,
    },
};
use wire::Wire;

const MAC: frames::Mac = [2, 0, 0, 0, 0, 1];
const PATIENCE: Duration = Duration::from_secs(5);

fn edge_and_peer() -> Wire {
    let wire = Wire::new(&["edge", "peer"]);
    wire.join("edge", "peer");
    wire.ip("edge", "link set peer address 02:00:00:00:00:01");
    wire
}

fn owned(vips: &[&str]) -> BTreeMap<IpAddr, Announcement> {
    let ifindex = if_nametoindex("peer").unwrap();
    vips.iter().map(|vip| (vip.parse().unwrap(), Announcement { ifindex, mac: MAC })).collect()
}

/// Everything a namespace hears.
fn listen(wire: &Wire, namespace: &str) -> std::fs::File {
    let fd = wire.inside(namespace, || {
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
    });
    let fd = fd.expect("needs root");
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000)).unwrap();
    fd.into()
}

/// Reads until each frame has been heard three times: one burst.
async fn hear_a_burst(mut socket: std::fs::File, frames: Vec<Vec<u8>>) -> std::fs::File {
    let reading = move || {
        let (deadline, mut heard) = (Instant::now() + PATIENCE, vec![0; frames.len()]);
        while heard.iter().any(|times| *times < 3) {
            assert!(Instant::now() < deadline, "heard {heard:?} times: {frames:02x?}");
            let mut buffer = [0; 2048];
            let Ok(length) = socket.read(&mut buffer) else { continue };
            for (times, frame) in heard.iter_mut().zip(&frames) {
                *times += usize::from(buffer[..length] == frame[..]);
            }
        }
        socket
    };
    tokio::task::spawn_blocking(reading).await.unwrap()
}

#[test]
fn a_neighbour_hears_each_new_vip_at_once_and_in_a_burst() {
    let wire = edge_and_peer();
    let socket = listen(&wire, "peer");
    let counts = wire.run("edge", async move || {
        let announcer = Announcer::start();
        announcer.own(owned(&["192.0.2.10", "2001:db8::10"]));
        let v4 = "192.0.2.10".parse().unwrap();
        let frames = vec![
            frames::gratuitous_arp_request(v4, MAC).to_vec(),
            frames::gratuitous_arp_reply(v4, MAC).to_vec(),
            frames::unsolicited_advertisement("2001:db8::10".parse().unwrap(), MAC).to_vec(),
        ];
        hear_a_burst(socket, frames).await;
        announcer.counts()
    });
    assert_eq!((counts.garp_request, counts.garp_reply, counts.unsolicited_na), (3, 3, 3));
}

#[test]
fn a_vip_given_up_and_taken_again_or_to_be_repeated_is_announced_anew() {
    let wire = edge_and_peer();
    let socket = listen(&wire, "peer");
    wire.run("edge", async move || {
        let announcer = Announcer::start();
        let v4 = "192.0.2.10".parse().unwrap();
        let frames = vec![frames::gratuitous_arp_request(v4, MAC).to_vec()];
        announcer.own(owned(&["192.0.2.10"]));
        let socket = hear_a_burst(socket, frames.clone()).await;
        announcer.own(BTreeMap::new());
        announcer.own(owned(&["192.0.2.10"]));
        let socket = hear_a_burst(socket, frames.clone()).await;
        announcer.repeat([v4.into()].into());
        hear_a_burst(socket, frames).await;
    });
}

/// The multicast MAC addresses an interface of the calling thread's namespace lets in.
fn memberships() -> String {
    std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap()
}

#[test]
fn solicitations_for_an_ipv6_vip_pass_the_interfaces_filter_while_it_is_owned() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        let announcer = Announcer::start();
        let until = async |present: bool| {
            let deadline = Instant::now() + PATIENCE;
            while memberships().contains("3333ffabcdef") != present {
                assert!(
                    Instant::now() < deadline,
                    "present: {present} expected: {}",
                    memberships()
                );
                tokio::task::yield_now().await;
            }
        };
        // Two VIPs of one group: it stays until both are gone.
        announcer.own(owned(&["2001:db8::1:abab:cdef", "2001:db8::2:abab:cdef"]));
        until(true).await;
        announcer.own(owned(&["2001:db8::1:abab:cdef"]));
        let before = announcer.counts().unsolicited_na;
        while announcer.counts().unsolicited_na == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        until(true).await;
        announcer.own(BTreeMap::new());
        until(false).await;
    });
}

#[test]
fn interfaces_are_found_by_name_with_what_they_are() {
    let wire = edge_and_peer();
    wire.address("edge", "peer", "10.9.0.1/24");
    wire.ip("edge", "link set peer mtu 1400");
    wire.run("edge", async || {
        let found = interfaces::resolve(&["peer".to_owned()]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].mac, found[0].mtu), (MAC, 1400));
        assert_eq!(found[0].ifindex, if_nametoindex("peer").unwrap());
        assert_eq!(found[0].driver.as_deref(), Some("veth"));
        assert!(found[0].addresses.contains(&"10.9.0.1/24".parse().unwrap()));
        let error = interfaces::resolve(&["eth7".to_owned()]).await.unwrap_err().to_string();
        assert_eq!(error, "interfaces: there is no \"eth7\"; this host has peer");
    });
}
