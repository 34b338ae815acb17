//! A whole fleet on PostgreSQL and RabbitMQ, with the real programs and TLS between all of them.

use std::fs;

use attune_tests::{
    binaries::workspace,
    dev::{shown, wait_for},
    postgres, rabbitmq,
};
use serde_json::json;

use crate::postgres_fleet::{Agent, Fleet, secured};

const EXAMPLES: [&str; 3] = ["checksum_files", "render_template", "redact_text"];

#[tokio::test(flavor = "multi_thread")]
async fn one_url_more_and_the_broker_wakes_the_fleet() {
    let database = postgres::shared().database_with_roles().await;
    let vhost = rabbitmq::shared().vhost();
    let (url, authority) = (vhost.tls_url(), vhost.broker.authority());
    let environment = [
        ("ATTUNE__MESSAGE_QUEUE__URL", url.as_str()),
        ("ATTUNE__MESSAGE_QUEUE__CA_FILE", authority.to_str().unwrap()),
        // nobody looks for work by themselves
        ("ATTUNE__DATABASE__SWEEP_INTERVAL", "1h"),
        // also what libraries say when they are asked for everything
        ("RUST_LOG", "trace"),
    ];
    let agent = secured(&database, "attune_agent");
    let printed = tokio::task::block_in_place(|| {
        let fleet = Fleet::start_with(&database, [&agent, &agent], &environment);
        fleet.plane.push(&workspace().join("packs/examples"));
        fleet.push();
        let mut printed = Vec::new();
        let mut attune = |arguments: &[&str]| {
            let output = fleet.plane.command(arguments).output().unwrap();
            printed.push(shown(&output));
            output
        };
        for example in EXAMPLES {
            let output = attune(&["run", &format!("examples.{example}")]);
            assert!(output.status.success(), "{example}: {}", shown(&output));
        }
        let queues = vhost.broker.control(&["list_queues", "--vhost", &vhost.name, "name"]);
        assert!(queues.contains("attune.executions.node >=14"), "{queues}");

        let marker = fleet.folder.path().join("once");
        let (id, _) = fleet.running("fleet.once", &marker);
        attune(&["executions", "cancel", &id]);
        wait_for("its end", || fleet.show(&id)["status"] == json!("cancelled"));
        assert_eq!(fs::read_to_string(&marker).unwrap(), "1\n");
        for arguments in [
            ["workers", "-o", "json"].as_slice(),
            &["workers"],
            &["executions", "list"],
            &["executions", "show", &id],
            &["runtimes"],
            &["run", "examples.nothing"],
        ] {
            attune(arguments);
        }
        printed.push(fleet.plane.log());
        printed.extend(fleet.agents.iter().map(Agent::log));
        printed
    });
    for text in &printed {
        for password in [postgres::PASSWORD, rabbitmq::PASSWORD] {
            let bytes: Vec<String> = password.bytes().map(|byte| byte.to_string()).collect();
            for form in [password, &bytes.join(", ")] {
                assert!(!text.contains(form), "a password was printed: {text}");
            }
        }
    }
    let agents = &printed[printed.len() - 2..];
    for told in ["registered", "DEBUG"] {
        assert!(agents.iter().all(|log| log.contains(told)), "it was looked at the right texts: {told}");
    }
}
