//! What happens before the process's own code, in this order and while there is one thread.

use culvert_model::Role;
use culvert_sandbox::Scope;
use tokio::sync::watch;

use crate::context::Stop;
use crate::options::Arguments;
use crate::{Context, Error, Notify, Sockets, Users, logging, options};

/// What the notification protocol still reads; everything else is removed from the environment.
const KEPT: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Runs the prologue. The sender is for whoever hears the signals.
pub(crate) fn run(role: Role) -> Result<(Context, watch::Sender<Stop>), Error> {
    let sockets = Sockets::new(culvert_link::inherited::take()?);
    let level = std::env::var("CULVERT_LOG").ok();
    let stream = std::env::var("JOURNAL_STREAM").ok();
    culvert_link::environment::clear(&KEPT)?;
    let arguments = options::parse(role, std::env::args_os().skip(1))?;
    let notify = Notify::from_environment()?;
    let users = Users::resolve()?;
    users.check_own(role)?;
    logging::start(role, arguments.log.as_deref().or(level.as_deref()), stream.as_deref())?;
    confine(role, &arguments)?;
    let (sender, stop) = watch::channel(Stop::Not);
    let context = Context {
        role,
        run: arguments.run,
        state: arguments.state,
        sockets,
        options: arguments.options,
        notify,
        users,
        stop,
    };
    Ok((context, sender))
}

/// Enters the role's sandbox. Nothing of the process's own code has run yet.
fn confine(role: Role, arguments: &Arguments) -> Result<(), Error> {
    let store = arguments.options.get("store").unwrap_or("embedded");
    let program = if role == Role::Bus && store != "embedded" { "bus-mongodb" } else { role.name() };
    let posture = culvert_sandbox::of(program).expect("every role is in the table");
    let scope = Scope {
        state: Some(&arguments.state),
        instance: None,
        named: store.strip_prefix('@').map(Into::into).into_iter().collect(),
        port: arguments.options.number("api-port")?,
    };
    let warnings = culvert_sandbox::enter(posture, &scope).map_err(|error| Error::Start(error.to_string()))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}
