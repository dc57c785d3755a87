//! The helper is killed at every system call that it makes for a start or a stop, one after the other; the next helper
//! knows all that there is, and a stop leaves nothing. Needs strace and some minutes, so it runs when asked for:
//! `cargo test -p culvert-helper --test crash -- --ignored`.

mod kit;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use culvert_wire::helper::{Reply, Request};
use kit::Lab;

#[test]
#[ignore = "takes some minutes, and strace"]
fn killed_while_it_starts() {
    every_call(|lab| Request::Start(Box::new(lab.request(|_| {}))), |_| {});
}

#[test]
#[ignore = "takes some minutes, and strace"]
fn killed_while_it_stops() {
    every_call(
        |_| Request::Stop(kit::slot()),
        |lab| assert_eq!(lab.ask(Request::Start(Box::new(lab.request(|_| {})))).0, Reply::Done),
    );
}

fn every_call(request: impl Fn(&Lab) -> Request, before: impl Fn(&Lab)) {
    let mut lab = Lab::new();
    let calls = calls(&mut lab, &request, &before);
    for (call, count) in calls {
        for number in 1..=count {
            lab.start_helper();
            before(&lab);
            let tracer = trace(&lab, &["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
            let survived = lab.try_ask(request(&lab)).is_some();
            if survived {
                lab.kill_helper();
            } else {
                lab.bury_helper();
            }
            finish(tracer);
            lab.start_helper();
            let Reply::Instances(instances) = lab.ask(Request::List).0 else { panic!("no list") };
            println!("{call} {number}: survived {survived}, {instances:?}");
            assert!(instances.len() <= 1);
            assert!(!survived || instances.iter().all(|one| one.running));
            assert_eq!(lab.ask(Request::Stop(kit::slot())).0, Reply::Done);
            assert!(!lab.device() && !lab.rules().contains("culvert0"), "{call} {number}");
            kit::until("no process of the instance is left", || lab.members() == 0);
            let left: Vec<String> = lab.left().into_iter().filter(|name| !name.ends_with(".new")).collect();
            assert!(
                left.iter().all(|name| ["helper", "helper/forwarding", "instances"].contains(&name.as_str())),
                "{left:?}"
            );
            lab.interrupt_helper();
            assert!(lab.left().is_empty(), "{call} {number}: {:?}", lab.left());
        }
    }
}

/// How often the helper makes which system call for a request.
fn calls(lab: &mut Lab, request: &impl Fn(&Lab) -> Request, before: &impl Fn(&Lab)) -> BTreeMap<String, usize> {
    lab.start_helper();
    before(lab);
    let file = std::env::temp_dir().join(format!("culvert-calls-{}", std::process::id()));
    let tracer = trace(lab, &["-o", file.to_str().expect("a path")]);
    assert_eq!(lab.ask(request(lab)).0, Reply::Done);
    lab.interrupt_helper();
    finish(tracer);
    let text = std::fs::read_to_string(&file).expect("a trace");
    std::fs::remove_file(&file).expect("removed");
    let mut calls = BTreeMap::new();
    for line in text.lines().skip_while(|line| !line.starts_with("recvmsg")).take_while(|line| !line.contains("SIGINT"))
    {
        let name = line.split('(').next().unwrap_or_default();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *calls.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    calls
}

fn trace(lab: &Lab, arguments: &[&str]) -> Child {
    let pid = lab.helper_pid();
    let mut command = Command::new("strace");
    command.args(["-qq", "-p", &pid.to_string()]).args(arguments).stderr(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().expect("strace");
    kit::until("strace is attached", || kit::status(pid, "TracerPid") != "0");
    child
}

fn finish(mut tracer: Child) {
    tracer.wait().expect("strace ends with what it traces");
}
