use proptest::prelude::*;

use super::*;

const DIALOGUE: &str = include_str!("../../../tests/dialogue/connect.txt");

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let mut parser = Parser::default();
    pieces.iter().flat_map(|piece| parser.push(piece)).collect()
}

#[test]
fn the_dialogue_of_a_real_server() {
    let events = events(&[DIALOGUE.as_bytes()]);
    assert_eq!(events[0], Event::Info);
    assert_eq!(events[1], Event::Hold);
    let clients: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Client { notice, client, key, damaged, .. } => Some((*notice, *client, *key, *damaged)),
            _ => None,
        })
        .collect();
    assert_eq!(clients[0], (Notice::Connect, 0, 1, false));
    assert!(clients.contains(&(Notice::Established, 0, 0, false)));
    assert!(clients.iter().any(|(notice, ..)| *notice == Notice::Reauth));
    let fingerprint = events.iter().find_map(|event| match event {
        Event::Client { notice: Notice::Connect, environment, .. } => environment.fingerprint(),
        _ => None,
    });
    assert!(fingerprint.is_some());
    assert!(events.iter().any(|event| matches!(event, Event::Row(row) if row.address.is_some())));
    assert!(events.contains(&Event::State { state: State::Connected, answer: false }));
}

#[test]
fn a_notice_that_lost_its_beginning_or_its_end() {
    let text = b"ENV,x=1\n>CLIENT:ENV,y=2\n>CLIENT:ENV,END\n>CLIENT:CONNECT,5,1\n>CLIENT:ENV,a=b\n>CLIENT:CONNECT,6,1\n>CLIENT:ENV,END\n";
    let found = events(&[text]);
    let damaged: Vec<_> = found
        .iter()
        .filter_map(|event| match event {
            Event::Client { client, damaged, .. } => Some((*client, *damaged)),
            _ => None,
        })
        .collect();
    assert_eq!(damaged, [(5, true), (6, false)]);
}

#[test]
fn too_many_entries_or_too_long_ones_are_damage() {
    let mut text = String::from(">CLIENT:CONNECT,1,1\n");
    for number in 0..=ENTRIES {
        text += &format!(">CLIENT:ENV,n{number}=x\n");
    }
    text += ">CLIENT:ENV,END\n>CLIENT:CONNECT,2,1\n>CLIENT:ENV,long=";
    text += &"x".repeat(super::super::LINE);
    text += "\n>CLIENT:ENV,END\n";
    let damaged = events(&[text.as_bytes()])
        .into_iter()
        .filter(|event| matches!(event, Event::Client { damaged: true, .. }))
        .count();
    assert_eq!(damaged, 2);
}

#[test]
fn rows_with_and_without_an_address() {
    let text = b"CLIENT_LIST\t5f\tudp4:10.0.0.1:999\t10.8.0.2\t\t1\t2\tx\t1700000000\tUNDEF\t3\t0\tAES\nCLIENT_LIST\tUNDEF\t10.0.0.1:9\t\t\t1\t2\tx\t1700000000\tUNDEF\t4\t0\tBF-CBC\n";
    let rows: Vec<_> = events(&[text]);
    let Event::Row(first) = &rows[0] else { panic!("a row") };
    assert_eq!((first.client, first.address.is_some(), first.real_address.as_str()), (3, true, "10.0.0.1:999"));
    let Event::Row(second) = &rows[1] else { panic!("a row") };
    assert_eq!((second.client, second.address), (4, None));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(cuts in proptest::collection::vec(0..DIALOGUE.len(), 0..20)) {
        let mut cuts = cuts;
        cuts.extend([0, DIALOGUE.len()]);
        cuts.sort_unstable();
        let bytes = DIALOGUE.as_bytes();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(events(&pieces), events(&[bytes]));
    }

    #[test]
    fn garbage_is_survived(garbage in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = events(&[&garbage]);
    }

    #[test]
    fn mangled_dialogue_is_survived(place in 0..DIALOGUE.len(), length in 0..200usize, noise in any::<u8>()) {
        let mut bytes = DIALOGUE.as_bytes().to_vec();
        let end = (place + length).min(bytes.len());
        bytes[place..end].fill(noise);
        let _ = events(&[&bytes]);
    }
}
