use culvert_model::record::{Priority, Work};
use culvert_records::Lease;
use proptest::prelude::*;

use super::*;

fn held(priority: Priority) -> Held {
    Held::of(&Job::new("job".into(), Work::SpareCa, priority, 0))
}

fn light(priority: Priority) -> Held {
    Held { heavy: false, ..held(priority) }
}

use Priority::{High, Low, Normal};

#[test]
fn nobody_has_room() {
    assert_eq!(offers(&[held(High)], &[], Vec::new()), [0; 0]);
    assert_eq!(offers(&[held(High)], &[], vec![Room::of(0); 3]), [0; 0]);
}

#[test]
fn the_most_urgent_first_and_only_as_many_as_there_is_room_for() {
    let resting = [held(Low), held(Normal), held(High), held(Normal)];
    assert_eq!(offers(&resting, &[], vec![Room::of(1), Room::of(2)]), [2, 1, 3]);
    assert_eq!(offers(&resting, &[], vec![Room::of(8)]), [2, 1, 3, 0]);
    // Each host fills no more than one pool.
    assert_eq!(offers(&[held(Low); 3], &[], vec![Room::of(8), Room::of(8)]), [0, 1]);
    // Work that is only writes has places of its own.
    assert_eq!(offers(&[light(Normal), held(Normal)], &[], vec![Room::of(0)]), [0]);
}

#[test]
fn what_waits_and_is_more_urgent_has_the_room_first() {
    let room = || vec![Room::of(1)];
    assert_eq!(offers(&[held(Normal)], &[held(High)], room()), [0; 0]);
    assert_eq!(offers(&[held(Normal)], &[held(Normal), held(Low)], room()), [0]);
}

#[test]
fn what_is_free_elsewhere() {
    let ids = [HostId::new(), HostId::new(), HostId::new()];
    let host = |id: &HostId, cores: u16| {
        let json = serde_json::json!({
            "id": id, "name": "gate", "hostname": "gate", "version": "0", "format": 1, "status": "online", "started": 0,
            "cores": cores, "local_networks": [], "availability_group": "default", "priority": 0,
        });
        serde_json::from_value::<Host>(json).expect("a host")
    };
    let hosts = [host(&ids[0], 1), host(&ids[1], 2), host(&ids[2], 4)];
    let job = |host: HostId, left| {
        let record = Job::new("job".into(), Work::SpareCa, Low, 0);
        Stored { record, revision: 1, lease: Some(Lease { host, owner: "queue".into(), epoch: 1, left }) }
    };
    // One that is done, and one that was given back.
    let rooms = rooms(&hosts, &[job(ids[1], 5_000), job(ids[2], 0)], ids[0]);
    let mut busy = Room::of(2);
    assert!(busy.take(&held(Low)));
    assert_eq!(rooms, [busy, Room::of(4)]);
}

#[test]
fn what_may_go() {
    let rested = REST;
    let one = Resting { job: held(Normal), rested, again: false, made: false };
    let search = Held::of(&Job::new("job".into(), Work::DhParams { bits: 2048 }, Normal, 0));
    assert!(one.may_go());
    assert!(!Resting { again: true, ..one }.may_go(), "nobody else took it before");
    assert!(!Resting { made: true, ..one }.may_go(), "what is made would be lost");
    assert!(!Resting { job: light(Normal), ..one }.may_go(), "it does not rest");
    assert!(Resting { job: search, again: true, ..one }.may_go(), "it loses nothing");
}

#[test]
fn when_to_look_who_has_room() {
    let view = View { host: HostId::new(), now: 0, uninterrupted: 15_000, lease: 15_000 };
    let some = |millis| Resting { job: held(Normal), rested: Duration::from_millis(millis), again: false, made: false };
    let kept = Resting { again: true, ..some(5_000) };
    let millis = Duration::from_millis;
    assert_eq!((due(&[], REST, &view), due(&[kept], REST, &view)), (None, None));
    assert_eq!(due(&[some(150), some(0)], REST, &view), Some(Duration::ZERO));
    assert_eq!(due(&[some(100), some(0), kept], REST, &view), Some(millis(50)));
    // No more often than that.
    assert_eq!(due(&[some(5_000)], millis(10), &view), Some(millis(140)));
    // Nobody may claim it.
    assert_eq!(due(&[some(5_000)], REST, &View { uninterrupted: 14_000, ..view.clone() }), Some(millis(1_000)));
    assert_eq!(due(&[some(5_000)], REST, &View { uninterrupted: 20_000, ..view }), Some(Duration::ZERO));
}

proptest! {
    /// Whatever is offered has room, and what is not has none.
    #[test]
    fn as_many_as_there_is_room_for(
        resting in prop::collection::vec(0..3_u8, 0..8),
        waiting in prop::collection::vec(0..3_u8, 0..8),
        cores in prop::collection::vec(0..4_usize, 0..4),
    ) {
        let jobs = |all: Vec<u8>| -> Vec<Held> {
            all.into_iter().map(|priority| held(Priority::try_from(priority).expect("0 to 2"))).collect()
        };
        let (resting, waiting) = (jobs(resting), jobs(waiting));
        let offered = offers(&resting, &waiting, cores.iter().copied().map(Room::of).collect());
        let before = |job: &Held| waiting.iter().filter(|other| other.urgency < job.urgency).count();
        let all: usize = cores.iter().sum();
        for (place, job) in resting.iter().enumerate().filter(|(_, job)| job.urgency < held(Low).urgency) {
            let others = resting.iter().enumerate().filter(|(at, other)| (other.urgency, *at) < (job.urgency, place)).count();
            prop_assert_eq!(offered.contains(&place), others + before(job) < all, "{:?}", offered);
        }
    }
}
