//! A console that listens: what `/event` tells, and when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::Value;

use crate::console::Console;
use crate::lines::until;

/// The events that a console has heard.
#[derive(Debug)]
pub struct Events {
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
    stop: Arc<AtomicBool>,
}

impl Events {
    /// Listens as the console does, by one long poll after the other, until this is dropped.
    pub fn listen(console: &Console) -> Self {
        let events = Self { heard: Arc::default(), stop: Arc::default() };
        let (heard, stop, console) = (events.heard.clone(), events.stop.clone(), console.clone());
        thread::spawn(move || {
            let mut last = None;
            while !stop.load(Ordering::Relaxed) {
                match poll(&console, last.as_deref()) {
                    Ok(events) => {
                        let now = Instant::now();
                        last = events.last().map(|(id, _)| id.clone()).or(last);
                        let events = events.into_iter().map(|(_, kind)| (now, kind));
                        heard.lock().expect("nobody panics with it").extend(events);
                    }
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        events
    }

    /// Waits for an event of this type that is heard at this time or later, and gives how long after that it was.
    pub fn after(&self, kind: &str, since: Instant, deadline: Duration) -> Result<Duration> {
        until(&format!("an event {kind}"), deadline, || {
            let heard = self.heard.lock().expect("nobody panics with it");
            Ok(heard.iter().find(|(at, heard)| heard == kind && *at >= since).map(|(at, _)| *at - since))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One long poll: ids and types.
fn poll(console: &Console, last: Option<&str>) -> Result<Vec<(String, String)>> {
    let path = last.map_or("/event".into(), |last| format!("/event/{last}"));
    let answer = console.expect(Method::GET, &path, None)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    Ok(answer.as_array().into_iter().flatten().map(|event| (text(&event["id"]), text(&event["type"]))).collect())
}
