//! The routes. Those of the contract that are not here are answered 404: see `docs/compatibility.md`.

use culvert_model::record::Period;
use culvert_model::{HostId, Id};

use crate::body::{
    AdminChange, ClusterChange, HostChange, Login, Named, OrganizationChange, OrganizationNew, Renewal, RouteChange,
    ServerChange, SettingsChange, UserChange, UserNew,
};
use crate::path::{JobAction, LongCode, Operation, RouteNetwork, ShortCode};
use crate::query::{Page, UserFilter};
use crate::reply;
use crate::reply::{Done, Empty, Listed, Null};

crate::routes! {
    /// Log in.
    SessionCreate: Post "/auth/session", path (), access None, query (), body Login, reply reply::LoggedIn;
    /// Log out.
    SessionDelete: Delete "/auth/session", path (), access None, query (), body (), reply reply::Authenticated;
    /// What the console needs to start, and a CSRF token.
    StateRead: Get "/state", path (), access Session, query (), body (), reply reply::State;
    /// The settings and the own account.
    SettingsRead: Get "/settings", path (), access Admin, query (), body (), reply reply::Settings;
    /// Change the settings or the own account.
    SettingsUpdate: Put "/settings", path (), access Admin, query (), body SettingsChange, reply reply::Settings;
    /// All administrators.
    AdminList: Get "/admin", path (), access SuperUser, query (), body (), reply Vec<reply::AdminListItem>;
    /// An administrator.
    AdminRead: Get "/admin/{admin}", path (Id,), access SuperUser, query (), body (), reply reply::Admin;
    /// Change an administrator.
    AdminUpdate: Put "/admin/{admin}", path (Id,), access SuperUser, query (), body AdminChange, reply reply::Admin;

    /// All organisations, or a page of them.
    OrganizationList: Get "/organization", path (), access Admin, query Page, body (), reply Listed<reply::Organization, reply::OrganizationPage>;
    /// An organisation.
    OrganizationRead: Get "/organization/{organization}", path (Id,), access Admin, query (), body (), reply reply::Organization;
    /// Make an organisation.
    OrganizationCreate: Post "/organization", path (), access Admin, query (), body OrganizationNew, reply reply::Organization;
    /// Change an organisation.
    OrganizationUpdate: Put "/organization/{organization}", path (Id,), access Admin, query (), body OrganizationChange, reply reply::Organization;
    /// Remove an organisation with its users.
    OrganizationDelete: Delete "/organization/{organization}", path (Id,), access Admin, query (), body (), reply Empty;

    /// An organisation's users: all, a page, or what a search finds.
    UserListing: Get "/user/{organization}", path (Id,), access Admin, query UserFilter, body (), reply reply::UserList;
    /// A user.
    UserRead: Get "/user/{organization}/{user}", path (Id, Id), access Admin, query (), body (), reply reply::UserDetail;
    /// Make a user.
    UserCreate: Post "/user/{organization}", path (Id,), access Admin, query (), body UserNew, reply Vec<reply::User>;
    /// Make several users.
    UserCreateMany: Post "/user/{organization}/multi", path (Id,), access Admin, query (), body Vec<UserNew>, reply Done<Vec<reply::User>>;
    /// Change a user.
    UserUpdate: Put "/user/{organization}/{user}", path (Id, Id), access Admin, query (), body UserChange, reply reply::User;
    /// Remove a user.
    UserDelete: Delete "/user/{organization}/{user}", path (Id, Id), access Admin, query (), body (), reply Empty;
    /// Make a new secret for a user's one-time codes.
    UserOtpRenew: Put "/user/{organization}/{user}/otp_secret", path (Id, Id), access Admin, query (), body (), reply reply::User;

    /// All servers, or a page of them.
    ServerList: Get "/server", path (), access Admin, query Page, body (), reply Listed<reply::Server, reply::ServerPage>;
    /// A server.
    ServerRead: Get "/server/{server}", path (Id,), access Admin, query (), body (), reply reply::Server;
    /// Make a server.
    ServerCreate: Post "/server", path (), access Admin, query (), body ServerChange, reply reply::Server;
    /// Change a server.
    ServerUpdate: Put "/server/{server}", path (Id,), access Admin, query (), body ServerChange, reply Done<reply::Server>;
    /// Remove a server.
    ServerDelete: Delete "/server/{server}", path (Id,), access Admin, query (), body (), reply Empty;
    /// The organisations of a server.
    ServerOrganizationList: Get "/server/{server}/organization", path (Id,), access Admin, query (), body (), reply Vec<reply::ServerOrg>;
    /// Attach an organisation to a server.
    ServerOrganizationAttach: Put "/server/{server}/organization/{organization}", path (Id, Id), access Admin, query (), body (), reply reply::ServerOrg;
    /// Detach an organisation from a server.
    ServerOrganizationDetach: Delete "/server/{server}/organization/{organization}", path (Id, Id), access Admin, query (), body (), reply Empty;
    /// The routes of a server.
    ServerRouteList: Get "/server/{server}/route", path (Id,), access Admin, query (), body (), reply Vec<reply::RouteListItem>;
    /// Add a route to a server.
    ServerRouteCreate: Post "/server/{server}/route", path (Id,), access Admin, query (), body RouteChange, reply reply::Route;
    /// Add several routes to a server; the last one is answered.
    ServerRouteCreateMany: Post "/server/{server}/routes", path (Id,), access Admin, query (), body Vec<RouteChange>, reply reply::Route;
    /// Change a route of a server.
    ServerRouteUpdate: Put "/server/{server}/route/{network}", path (Id, RouteNetwork), access Admin, query (), body RouteChange, reply reply::Route;
    /// Remove a route from a server.
    ServerRouteDelete: Delete "/server/{server}/route/{network}", path (Id, RouteNetwork), access Admin, query (), body (), reply Null;
    /// The hosts that may run a server.
    ServerHostList: Get "/server/{server}/host", path (Id,), access Admin, query (), body (), reply Vec<reply::ServerHost>;
    /// Let a host run a server.
    ServerHostAttach: Put "/server/{server}/host/{host}", path (Id, HostId), access Admin, query (), body (), reply reply::ServerHost;
    /// Let a host run a server no more.
    ServerHostDetach: Delete "/server/{server}/host/{host}", path (Id, HostId), access Admin, query (), body (), reply Empty;
    /// Start, stop or restart a server.
    ServerOperate: Put "/server/{server}/operation/{operation}", path (Id, Operation), access Admin, query (), body (), reply reply::Server;
    /// What a server's instances printed.
    ServerOutputRead: Get "/server/{server}/output", path (Id,), access Admin, query (), body (), reply reply::ServerOutput;
    /// Forget what a server's instances printed.
    ServerOutputClear: Delete "/server/{server}/output", path (Id,), access Admin, query (), body (), reply Empty;

    /// All hosts, or a page of them.
    HostList: Get "/host", path (), access Admin, query Page, body (), reply Listed<reply::Host, reply::HostPage>;
    /// A host.
    HostRead: Get "/host/{host}", path (HostId,), access Admin, query (), body (), reply reply::Host;
    /// Change a host.
    HostUpdate: Put "/host/{host}", path (HostId,), access Admin, query (), body HostChange, reply reply::Host;
    /// Remove a host that is gone.
    HostDelete: Delete "/host/{host}", path (HostId,), access Admin, query (), body (), reply Empty;
    /// How busy a host's machine was.
    HostUsage: Get "/host/{host}/usage/{period}", path (HostId, Period), access Admin, query (), body (), reply reply::Usage;

    /// What changes from now on; waits up to 10 s.
    EventPoll: Get "/event", path (), access Admin, query (), body (), reply Vec<reply::Event>;
    /// What changed after an event; waits up to 10 s.
    EventPollAfter: Get "/event/{cursor}", path (Id,), access Admin, query (), body (), reply Vec<reply::Event>;
    /// The cluster in numbers.
    StatusRead: Get "/status", path (), access Admin, query (), body (), reply reply::Status;
    /// What happened, newest first.
    LogList: Get "/log", path (), access Admin, query (), body (), reply Vec<reply::LogEntry>;
    /// The system's log.
    LogsRead: Get "/logs", path (), access Admin, query (), body (), reply reply::Logs;
    /// Whether this host is well.
    PingRead: Get "/ping", path (), access None, query (), body (), reply reply::Page;
    /// Whether this host is well.
    CheckRead: Get "/check", path (), access None, query (), body (), reply reply::Page;
    /// Search engines are to leave.
    RobotsRead: Get "/robots.txt", path (), access None, query (), body (), reply reply::Text;

    /// Make a link to a user's profiles.
    KeyLinkCreate: Get "/data/{organization}/{user}", path (Id, Id), access Admin, query (), body (), reply reply::KeyLink;
    /// A user's profiles as an archive.
    DataArchive: Get "/data/{organization}/{user}.tar", path (Id, Id), access Session, query (), body (), reply reply::Archive;
    /// A user's profile for one server.
    DataProfile: Get "/data/{organization}/{user}/{server}.key", path (Id, Id, Id), access Session, query (), body (), reply reply::Profile;
    /// The profiles behind a link as an archive.
    KeyArchive: Get "/key/{code}.tar", path (LongCode,), access Capability, query (), body (), reply reply::Archive;
    /// The profile behind a link for one server.
    KeyProfile: Get "/key/{code}/{server}.key", path (LongCode, Id), access Capability, query (), body (), reply reply::Profile;
    /// The page behind a link.
    KeyPage: Get "/k/{code}", path (ShortCode,), access Capability, query (), body (), reply reply::Page;
    /// Remove a link.
    KeyPageDelete: Delete "/k/{code}", path (ShortCode,), access Capability, query (), body (), reply Empty;
    /// The profiles behind a link, for desktop clients.
    KeyProfiles: Get "/ku/{code}", path (ShortCode,), access Capability, query (), body (), reply reply::Profiles;
    /// As [`KeyLinkCreate`], under its former path.
    FormerKeyLinkCreate: Get "/key/{organization}/{user}", path (Id, Id), access Admin, query (), body (), reply reply::KeyLink;
    /// As [`DataArchive`], under its former path.
    FormerDataArchive: Get "/key/{organization}/{user}.tar", path (Id, Id), access Session, query (), body (), reply reply::Archive;
    /// As [`DataProfile`], under its former path.
    FormerDataProfile: Get "/key/{organization}/{user}/{server}.key", path (Id, Id, Id), access Session, query (), body (), reply reply::Profile;

    /// Work that waits, is being done, or was given up.
    JobList: Get "/v1/jobs", path (), access Admin, query (), body (), reply reply::Jobs;
    /// Retry, discard, cancel or raise a job.
    JobChange: Put "/v1/jobs/{action}", path (JobAction,), access Admin, query (), body Named, reply Empty;
    /// Tasks with their last run.
    TaskList: Get "/v1/tasks", path (), access Admin, query (), body (), reply Vec<reply::Task>;
    /// Have a task run now.
    TaskRun: Put "/v1/tasks/run", path (), access Admin, query (), body Named, reply Empty;
    /// Pools with their levels.
    PoolList: Get "/v1/pools", path (), access Admin, query (), body (), reply Vec<reply::Pool>;
    /// The signed list of an organisation's revoked certificates (RFC 5280), DER. It says nothing that is secret.
    OrganizationCrl: Get "/v1/organizations/{organization}/crl", path (Id,), access None, query (), body (), reply reply::Crl;
    /// Give all users of an organisation new certificates.
    OrganizationRenew: Post "/v1/organizations/{organization}/renewal", path (Id,), access Admin, query (), body Renewal, reply reply::Renewal;
    /// A user's certificates: the one that it has, and those that are good beside it for a while.
    UserCertificates: Get "/v1/organizations/{organization}/users/{user}/certificates", path (Id, Id), access Admin, query (), body (), reply Vec<reply::Certificate>;
    /// Give a user a new certificate.
    UserRenew: Post "/v1/organizations/{organization}/users/{user}/renewal", path (Id, Id), access Admin, query (), body Renewal, reply reply::Renewal;
    /// A server's certificates, likewise.
    ServerCertificates: Get "/v1/servers/{server}/certificates", path (Id,), access Admin, query (), body (), reply Vec<reply::Certificate>;
    /// Give a server a new certificate, which it takes at its next start.
    ServerRenew: Post "/v1/servers/{server}/renewal", path (Id,), access Admin, query (), body Renewal, reply reply::Renewal;
    /// The cluster's own settings.
    ClusterRead: Get "/v1/settings", path (), access Admin, query (), body (), reply reply::Cluster;
    /// Change the cluster's own settings.
    ClusterUpdate: Put "/v1/settings", path (), access Admin, query (), body ClusterChange, reply reply::Cluster;
}
