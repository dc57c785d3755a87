use culvert_model::record::InstanceState;
use culvert_records::Lease;

use super::*;
use crate::sample;

/// A world that a plan is made for.
#[derive(Default)]
struct World {
    now: Millis,
    contact: Millis,
    servers: BTreeMap<Id, Server>,
    covered: BTreeSet<Id>,
    seats: Vec<Seat>,
    running: Vec<helper::Instance>,
    held: BTreeMap<String, Held>,
    attended: BTreeSet<Slot>,
    resting: BTreeMap<Id, Millis>,
    busy: BTreeSet<Id>,
}

impl World {
    fn new() -> Self {
        let server = sample::server();
        Self { covered: [server.id].into(), servers: [(server.id, server)].into(), ..Self::default() }
    }

    fn plan(&self) -> Vec<Action> {
        plan(&View {
            host: sample::host(),
            now: self.now,
            contact: self.contact,
            servers: &self.servers,
            covered: &self.covered,
            seats: Some(&self.seats),
            running: &self.running,
            held: &self.held,
            attended: &self.attended,
            resting: &self.resting,
            busy: &self.busy,
        })
    }

    fn seat(&mut self, number: u16, host: Option<HostId>, left: Millis) {
        let lease = host.map(|host| Lease { host, owner: claim().owner, epoch: 3, left });
        let (server, id) = (sample::id(200), Record::name(sample::id(200), number));
        let (state, since) = (InstanceState::Idle, 0);
        let record = Record { id, server, host, slot: None, state, since, reason: None, certificate: None };
        self.seats.push(Seat { record, lease, revision: 7 });
    }

    fn held(&mut self, number: u16) {
        let held = Held { server: sample::id(200), claim: Some(claim()) };
        self.held.insert(Record::name(sample::id(200), number), held);
    }

    /// The action that claims its only seat.
    fn taking(&self) -> Action {
        Action::Claim(Box::new(self.seats[0].clone()))
    }

    fn runs(&mut self, running: bool) {
        let instance = helper::Instance { slot: slot(0), server: sample::id(200), epoch: 3, pid: 9, running };
        self.running.push(instance);
    }
}

fn claim() -> Claim {
    Claim { owner: format!("{OWNER}-1"), epoch: 3 }
}

fn slot(number: u8) -> Slot {
    Slot::try_from(number).expect("a slot")
}

fn name() -> String {
    Record::name(sample::id(200), 0)
}

#[test]
fn from_nothing_to_attended() {
    let server = sample::id(200);
    let mut world = World::new();
    assert_eq!(world.plan(), [Action::Create { server, number: 0 }]);
    world.seat(0, None, 0);
    assert_eq!(world.plan(), [world.taking()]);
    world.held(0);
    assert_eq!(world.plan(), [Action::Start { seat: name(), server, claim: claim(), slot: slot(0) }]);
    world.runs(true);
    assert_eq!(world.plan(), [Action::Attach { seat: name(), server, slot: slot(0), pid: 9 }]);
    world.attended.insert(slot(0));
    assert_eq!(world.plan(), []);
}

#[test]
fn while_a_claim_has_run_out_what_runs_is_attended_to_and_nothing_is_started_or_given_up() {
    let mut world = World::new();
    world.seat(0, Some(sample::host()), 0);
    world.held(0);
    world.held.values_mut().for_each(|held| held.claim = None);
    assert_eq!(world.plan(), []);
    world.runs(true);
    let attach = Action::Attach { seat: name(), server: sample::id(200), slot: slot(0), pid: 9 };
    assert_eq!(world.plan(), [attach]);
    world.running.clear();
    world.servers.clear();
    assert_eq!(world.plan(), []);
}

#[test]
fn what_runs_is_adopted_and_not_started_again() {
    let server = sample::id(200);
    let mut world = World::new();
    world.runs(true);
    world.seat(0, Some(sample::host()), 5_000);
    assert_eq!(world.plan(), [Action::Continue { seat: name(), server, former: claim() }]);
    world.seats.clear();
    world.seat(0, Some(sample::host()), 0);
    assert_eq!(world.plan(), [world.taking()]);
}

#[test]
fn a_claim_of_another_host_ends_ours() {
    let mut world = World::new();
    world.runs(true);
    world.seat(0, Some(sample::other_host()), 5_000);
    let stop = Action::Stop { server: sample::id(200), slot: slot(0), why: Why::Moved };
    assert_eq!(world.plan(), [stop]);
}

#[test]
fn what_runs_here_goes_on_if_its_instance_was_only_freed() {
    let mut world = World::new();
    world.servers.values_mut().for_each(|server| server.replica_count = 2);
    world.runs(true);
    world.seat(0, None, 0);
    world.seat(1, Some(sample::other_host()), 5_000);
    assert_eq!(world.plan(), [world.taking()]);
    world.seats[0].record.host = Some(sample::other_host());
    let stop = Action::Stop { server: sample::id(200), slot: slot(0), why: Why::Moved };
    assert_eq!(world.plan(), [stop]);
}

#[test]
fn a_lost_host_is_replaced_after_a_lease_of_contact() {
    let mut world = World::new();
    world.seat(0, Some(sample::other_host()), 0);
    assert_eq!(world.plan(), []);
    world.contact = LEASE;
    assert_eq!(world.plan(), [world.taking()]);
    world.seats.clear();
    world.seat(0, Some(sample::other_host()), 1);
    assert_eq!(world.plan(), []);
}

#[test]
fn what_is_not_wished_is_stopped_and_given_up() {
    let server = sample::id(200);
    for unwish in [
        (|world: &mut World| world.servers.clear()) as fn(&mut World),
        |world| world.servers.values_mut().for_each(|server| server.online = false),
        |world| world.servers.values_mut().for_each(|server| server.hosts.clear()),
        |world| world.servers.values_mut().for_each(|server| server.standby.push(sample::host())),
    ] {
        let mut world = World::new();
        world.seat(0, Some(sample::host()), 5_000);
        world.held(0);
        world.runs(true);
        world.attended.insert(slot(0));
        unwish(&mut world);
        assert_eq!(world.plan(), [Action::Stop { server, slot: slot(0), why: Why::NotWished }]);
        world.running.clear();
        world.attended.clear();
        assert_eq!(world.plan(), [Action::Retire { seat: name(), server, claim: claim() }]);
        world.held.clear();
        let resume = Action::Continue { seat: name(), server, former: claim() };
        assert_eq!(world.plan(), [resume], "what a vpn before us held is held before it is given up");
        world.seats.clear();
        assert_eq!(world.plan(), []);
    }
}

#[test]
fn the_dead_are_buried_and_started_again_after_a_rest() {
    let server = sample::id(200);
    let mut world = World::new();
    world.seat(0, Some(sample::host()), 5_000);
    world.held(0);
    world.runs(false);
    world.attended.insert(slot(0));
    assert_eq!(world.plan(), [Action::Bury { seat: Some(name()), server, slot: slot(0) }]);
    world.running.clear();
    world.attended.clear();
    world.resting.insert(server, 1_000);
    assert_eq!(world.plan(), []);
    world.now = 1_000;
    assert_eq!(world.plan(), [Action::Start { seat: name(), server, claim: claim(), slot: slot(0) }]);
}

#[test]
fn nothing_is_stopped_before_the_records_were_read() {
    let mut world = World::new();
    world.runs(true);
    world.servers.clear();
    let view = View {
        host: sample::host(),
        now: 0,
        contact: 0,
        servers: &world.servers,
        covered: &world.covered,
        seats: None,
        running: &world.running,
        held: &world.held,
        attended: &world.attended,
        resting: &world.resting,
        busy: &world.busy,
    };
    assert_eq!(plan(&view), []);
}

#[test]
fn one_of_two_instances_per_host() {
    let mut world = World::new();
    world.servers.values_mut().for_each(|server| server.replica_count = 2);
    world.seat(0, Some(sample::other_host()), 5_000);
    assert_eq!(world.plan(), [Action::Create { server: sample::id(200), number: 1 }]);
    world.seat(1, None, 0);
    world.held(1);
    world.runs(true);
    world.attended.insert(slot(0));
    assert_eq!(world.plan(), []);
    world.servers.values_mut().for_each(|server| server.replica_count = 1);
    assert_eq!(world.plan(), [Action::Stop { server: sample::id(200), slot: slot(0), why: Why::NotWished }]);
}

#[test]
fn two_servers_never_get_one_slot() {
    let mut world = World::new();
    let mut second = sample::server();
    second.id = sample::id(210);
    world.covered.insert(second.id);
    world.servers.insert(second.id, second);
    world.held(0);
    let held = Held { server: sample::id(210), claim: Some(claim()) };
    world.held.insert(Record::name(sample::id(210), 0), held);
    let slots: BTreeSet<_> = world
        .plan()
        .into_iter()
        .filter_map(|action| match action {
            Action::Start { slot, .. } => Some(slot),
            _ => None,
        })
        .collect();
    assert_eq!(slots.len(), 2);
}
