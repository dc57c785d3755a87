//! Where the process's log goes: the journal with fields when stderr is a journal's, readable lines on stderr otherwise.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use culvert_model::Role;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Error;

/// What is logged unless it is said otherwise.
const DEFAULT: &str = "info";

/// The journal's socket.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Starts logging. `stream` is the value of `JOURNAL_STREAM`, `level` that of `--log` or `CULVERT_LOG`. Opens what it
/// needs, so it must run before the sandbox is entered.
pub(crate) fn start(role: Role, level: Option<&str>, stream: Option<&str>) -> Result<(), Error> {
    let level = level.unwrap_or(DEFAULT);
    // A stranger can make the HTTP/2 library warn as often as it likes, once per connection.
    let filter = EnvFilter::builder().parse(format!("{level},h2=error")).map_err(|error| {
        Error::Configuration(format!(
            "the log level {level} is not understood ({error}); give error, warn, info, debug or trace"
        ))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    if stream.is_some_and(is_stderr) && Path::new(JOURNAL).exists() {
        let layer = tracing_journald::layer().map_err(|error| Error::system("connecting to the journal", error))?;
        registry.with(layer.with_syslog_identifier(format!("culvert-{role}"))).init();
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            // A line that cannot be written is lost; saying so would fail the same way.
            .log_internal_errors(false)
            .fmt_fields(tracing_subscriber::fmt::format::DefaultFields::new());
        registry.with(layer.event_format(Line { role })).init();
    }
    Ok(())
}

/// Whether stderr is the stream whose device and inode `JOURNAL_STREAM` names: a process whose stderr was redirected
/// inherits the variable, too.
fn is_stderr(stream: &str) -> bool {
    let Ok(meta) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", meta.dev(), meta.ino())
}

/// One line of the log: `21:54:36.123Z vpn    INFO text field=value`.
struct Line {
    role: Role,
}

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for Line
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: tracing_subscriber::fmt::format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        write!(writer, "{} {:<5} {:>5} ", clock(), self.role.name(), event.metadata().level())?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The time of day in UTC, to the millisecond.
fn clock() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60, now.subsec_millis())
}
