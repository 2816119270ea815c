//! Reports of active mirrors: what LVM2 showed while the kernel had them, from the same status
//! lines. They come from a daemon of the test's own, which knows nothing but them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

use ulvm_test_support::ensure;
use ulvm_test_support::images::Images;
use ulvm_test_support::vectors::Vector;

use crate::unpack;

/// `lvs` of an active VG shows what was recorded.
pub fn check(vector: &Vector) -> Result<(), String> {
    let images = unpack(vector)?;
    serve(&images, devices(vector, &|line| line.to_owned()))?;
    let commands = vector.expected["commands"].as_array();
    let mut commands = commands.into_iter().flatten();
    let activated = |command: &&Value| text(command, "cmd").starts_with("vgchange -ay");
    commands.find(activated).ok_or("never activated")?;
    let report = commands.find(|command| command["json"].is_object());
    let report = report.ok_or("no report of what is active")?;
    let line = text(report, "cmd");
    let shown = images.json(line)?;
    let wanted = &report["json"]["report"][0]["lv"];
    let seen = &shown["report"][0]["lv"];
    ensure!(seen == wanted, "{line} shows\n{seen}\ninstead of\n{wanted}");
    Ok(())
}

/// A raid1 at work, with a failed leg, and with differences found. The letters and words are those
/// that LVM2 has for them; 5/9 and 2/3 show that percentages are cut, not rounded.
pub fn at_work() -> Result<(), String> {
    let vector = Vector::load("raid1-2leg")?;
    for (status, fields, images_attr) in [
        (
            "aa 5/9 resync 0",
            "rwi-a-r---|55.55||resync|0",
            ["Iwi-aor---|", "Iwi-aor---|"],
        ),
        (
            "Aa 2/3 recover 0",
            "rwi-a-r---|66.66||recover|0",
            ["iwi-aor---|", "Iwi-aor---|"],
        ),
        (
            "AD 9/9 idle 0",
            "rwi-a-r-r-|100.00|refresh needed|idle|0",
            ["iwi-aor---|", "Iwi-aor-r-|refresh needed"],
        ),
        (
            "AA 9/9 idle 256",
            "rwi-a-r-m-|100.00|mismatches exist|idle|256",
            ["iwi-aor---|", "iwi-aor---|"],
        ),
    ] {
        let images = unpack(&vector)?;
        let change = |line: &str| match line.split_once(" raid raid1 2 ") {
            Some((start, _)) => format!("{start} raid raid1 2 {status} 0 -"),
            None => line.to_owned(),
        };
        serve(&images, devices(&vector, &change))?;
        let get = |words: &str| -> Result<String, String> {
            let done = images.ok(&format!("lvs --noheadings --separator | {words}"))?;
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        };
        let top = "lv_attr,copy_percent,lv_health_status,raid_sync_action,raid_mismatch_count";
        let seen = get(&format!("-o {top} v-raid1-2leg/r"))?;
        ensure!(seen == fields, "{status}: {seen}");
        for (n, wanted) in images_attr.iter().enumerate() {
            let name = format!("v-raid1-2leg/r_rimage_{n}");
            let seen = get(&format!("-a -o lv_attr,lv_health_status {name}"))?;
            ensure!(seen == *wanted, "{status}: leg {n}: {seen}");
        }
        let low = get("-o lv_name -S copy_percent<60")?;
        ensure!(low.is_empty() != status.contains("5/9"), "{status}: {low}");
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// The recorded devices as a daemon tells of them; status lines as `change` makes them.
fn devices(vector: &Vector, change: &dyn Fn(&str) -> String) -> Vec<Value> {
    let recorded = vector.expected["dm_devices"].as_object();
    let lines = |value: &Value| -> String {
        let lines = value.as_array().into_iter().flatten();
        let lines = lines.filter_map(|l| l.as_str()).map(change);
        lines.collect::<Vec<_>>().join("\n")
    };
    let each = recorded.into_iter().flatten().enumerate();
    each.map(|(n, (name, device))| {
        json!({
            "number": n,
            "name": name,
            "uuid": device["uuid"],
            "size": device["size"].as_u64().unwrap_or(0),
            "read_only": false,
            "suspended": false,
            "live_table": true,
            "loaded_table": false,
            "table": lines(&device["table"]),
            "loaded": null,
            "target_status": lines(&device["status_after_activation"]),
            "export": null,
            "node": null,
            "uri": null,
            "major_minor": null,
            "links": [],
            "open": false,
            "withdrawn": null,
        })
    })
    .collect()
}

/// Answers every client, until the process ends.
fn serve(images: &Images, devices: Vec<Value>) -> Result<(), String> {
    let run = images.path("../run");
    std::fs::create_dir_all(&run).map_err(|e| e.to_string())?;
    let listener = UnixListener::bind(run.join("daemon.sock")).map_err(|e| e.to_string())?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that goes away ends its own connection only.
            let _ = answer(client, &devices);
        }
    });
    Ok(())
}

fn answer(client: UnixStream, devices: &[Value]) -> std::io::Result<()> {
    let mut out = client.try_clone()?;
    for line in BufReader::new(client).lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let reply = match ask["body"]["do"].as_str() {
            Some("status") => status(devices),
            _ => json!({"is": "done"}),
        };
        writeln!(out, "{}", json!({"v": 1, "body": reply}))?;
    }
    Ok(())
}

fn status(devices: &[Value]) -> Value {
    json!({
        "is": "status",
        "version": "0",
        "supervisor_pid": 1,
        "worker_pid": null,
        "restarts": 0,
        "pause_us": null,
        "resent": 0,
        "driver": "pool",
        "kill": {"worker_survived": true, "worker": "", "supervisor": "", "both": ""},
        "memory_pinned": false,
        "memory": "",
        "devices": devices,
    })
}
