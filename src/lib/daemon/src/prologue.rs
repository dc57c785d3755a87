//! What happens before the process's own code, in this order and while there is one thread.

use culvert_model::Role;
use tokio::sync::watch;

use crate::{Context, Error, Notify, Sockets, Users, logging, options};

/// What the notification protocol still reads; everything else is removed from the environment.
const KEPT: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Runs the prologue. The sender is for whoever hears the signals.
pub(crate) fn run(role: Role) -> Result<(Context, watch::Sender<bool>), Error> {
    let sockets = Sockets::new(culvert_link::inherited::take()?);
    let level = std::env::var("CULVERT_LOG").ok();
    let stream = std::env::var("JOURNAL_STREAM").ok();
    culvert_link::environment::clear(&KEPT)?;
    let arguments = options::parse(role, std::env::args_os().skip(1))?;
    let notify = Notify::from_environment()?;
    let users = Users::resolve()?;
    users.check_own(role)?;
    logging::start(role, arguments.log.as_deref().or(level.as_deref()), stream.as_deref())?;
    let (sender, stop) = watch::channel(false);
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
