//! The demo: a VIP balanced with real packets, shown step by step. Ends with an error if anything is not as promised.

use std::{
    io::{IsTerminal as _, stdout},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{client::Load, cluster::Cluster, tally::Tally};

/// Servers in the demo.
const SERVERS: u8 = 3;
/// Connections made to each VIP.
const CONNECTIONS: usize = 300;
/// Connections at a time.
const PARALLEL: usize = 8;
/// How long requests go on before and after a server is taken out.
const LOAD: Duration = Duration::from_millis(1500);

/// Runs the demo.
///
/// # Errors
/// When the cluster does not start, or does not do what it should.
pub fn run() -> Result<()> {
    headline(
        "A client, a router, an edge with Sluice, and plain servers that hold the VIPs on `lo`",
    );
    let mut cluster = Cluster::start(SERVERS)?;
    print!("{}", cluster.lab);
    println!(
        "\nclient -> router -> edge --[tunnel or MAC address]--> server, and straight back from the server to the client"
    );

    headline(
        "curl asks each VIP; the server answers with its name and the client's address as it sees it",
    );
    let client = cluster.lab.client();
    for (forwarding, vip) in Cluster::targets() {
        let answer = client.curl(&format!("http://{vip}/"))?;
        ensure!(answer.status == 200, "{vip} answered with status {}", answer.status);
        println!("{forwarding:4}  curl http://{vip}/  ->  {}", answer.body.trim());
    }

    headline(&format!("{CONNECTIONS} connections to each VIP: who got how many"));
    for (forwarding, vip) in Cluster::targets() {
        let tally = client.ask_many(vip, CONNECTIONS, PARALLEL)?;
        tally.all_answered()?;
        let own = if vip.is_ipv4() { cluster.lab.client.v4() } else { cluster.lab.client.v6() };
        ensure!(
            tally.clients.iter().eq([&own]),
            "the servers saw {:?} instead of the client's {own}",
            tally.clients
        );
        ensure!(
            tally.servers.len() == usize::from(SERVERS),
            "not every server got a connection: {tally:?}"
        );
        println!("{forwarding:4}  {vip:<22}  {}  client seen as {own}", shares(&tally));
    }

    headline("Why one of them goes where it goes");
    let (_, vip) = Cluster::targets()[0];
    let source = std::net::SocketAddr::new(cluster.lab.client.v4(), 40000);
    show(&cluster, &["explain", &source.to_string(), &vip.to_string()])?;

    headline("A server is taken out of the configuration while requests go on");
    let loads: Vec<Load> =
        Cluster::targets().into_iter().map(|(_, vip)| client.keep_asking(vip, 2)).collect();
    thread::sleep(LOAD);
    let remaining = cluster.config_with(&cluster.lab.servers[..usize::from(SERVERS) - 1]);
    cluster.edge.apply(remaining)?;
    // Requests under way at that moment may still end where they began.
    thread::sleep(Duration::from_millis(300));
    for load in &loads {
        let before = load.take();
        println!("before  {}", shares(&before));
        before.all_answered()?;
    }
    thread::sleep(LOAD);
    let mut after = Tally::default();
    for load in loads {
        after.merge(load.stop()?);
    }
    println!("after   {}", shares(&after));
    after.all_answered()?;
    let gone = &cluster.lab.servers[usize::from(SERVERS) - 1].name;
    ensure!(after.of(gone) == 0, "{gone} still got {} requests", after.of(gone));
    println!("{} requests afterwards, none failed, none went to {gone}", after.answers());

    headline("What the agent counted");
    for command in ["services", "backends", "vips", "drops"] {
        println!("$ sluice {command}");
        show(&cluster, &[command])?;
    }
    Ok(())
}

fn show(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let output = cluster.edge.command(arguments)?;
    ensure!(
        output.status.success(),
        "sluice {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn shares(tally: &Tally) -> String {
    let share = |(server, count): (&String, &u64)| format!("{server}: {count}");
    let mut shares: Vec<String> = tally.servers.iter().map(share).collect();
    if !tally.failures.is_empty() {
        shares.push(format!("failed: {}", tally.failures.len()));
    }
    shares.join("  ")
}

fn headline(text: &str) {
    if stdout().is_terminal() {
        println!("\n\x1b[1;36m== {text}\x1b[0m");
    } else {
        println!("\n== {text}");
    }
}
