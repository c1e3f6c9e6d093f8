//! The configuration changes under load, and nobody notices who is not concerned.

use std::{thread, time::Duration};

use sluice_tests::{cluster::Cluster, wait::until_true};

#[test]
fn a_server_taken_out_and_put_back_live_fails_no_request() {
    let mut cluster = Cluster::start(3).unwrap();
    let client = cluster.lab.client();
    let loads: Vec<_> =
        Cluster::targets().into_iter().map(|(_, vip)| client.keep_asking(vip, 2)).collect();
    let mut sessions: Vec<_> =
        (0..30).map(|number| client.session(Cluster::targets()[number % 4].1).unwrap()).collect();
    let begun: Vec<_> = sessions.iter_mut().map(|session| session.ask().unwrap().server).collect();
    for servers in [2, 3, 2, 3] {
        let config = cluster.config_with(&cluster.lab.servers[..servers]);
        cluster.edge.apply(config).unwrap();
        // Load has to meet the new tables for a while; there is no event to wait for.
        thread::sleep(Duration::from_millis(200));
    }
    for load in loads {
        let tally = load.stop().unwrap();
        tally.all_answered().unwrap();
        assert!(tally.answers() > 100, "{tally:?}");
    }
    for (session, server) in sessions.iter_mut().zip(begun) {
        assert_eq!(session.ask().unwrap().server, server);
    }
}

#[test]
fn a_broken_file_is_refused_with_its_errors_and_the_last_good_state_stays() {
    let cluster = Cluster::start(2).unwrap();
    cluster
        .edge
        .write_file("interfaces: [eth0]\nservices:\n  - name: 7\n    vips: [nonsense]\n")
        .unwrap();
    let refused = || {
        let status = cluster.edge.json(&["status"]).unwrap();
        let errors = status["source"]["errors"].as_array().map_or(0, Vec::len);
        status["source"]["state"] == "refused" && errors >= 2
    };
    until_true("the broken file is refused", Duration::from_secs(10), refused).unwrap();
    for (_, vip) in Cluster::targets() {
        cluster.lab.client().ask_many(vip, 20, 4).unwrap().all_answered().unwrap();
    }
}
