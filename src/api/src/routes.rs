//! Every route of the contract and who answers it. A route without a handler does not compile.

use axum::response::Response;
use culvert_contract::body::RouteChange;
use culvert_contract::reply::{self, Done, Empty, Listed, Null};
use culvert_contract::{self as contract, Endpoint, RouteName};
use culvert_model::record::Organization;
use ipnet::IpNet;

use crate::answer::Answer;
use crate::api::Api;
use crate::exchange::{Asked, Outcome, Raw};
use crate::page::{Paged, page};
use crate::profile::{self, link};
use crate::server::{Scene, route};
use crate::work::{job, pool, task};
use crate::{
    administrator, calendar, cluster, crl, event, host, organization, overview, renewal, robots, server, session,
    settings, user,
};

type Result<E> = Answer<Outcome<<E as Endpoint>::Reply>>;

/// Declares the handlers: for each route an async block over the api and what was asked.
macro_rules! handlers {
    ($($route:ident => |$api:ident, $asked:pat_param| $answer:expr;)+) => {
        /// The answer of a route.
        ///
        /// # Errors
        ///
        /// The request was turned down.
        pub async fn answer(api: Api, name: RouteName, raw: Raw) -> Answer<Response> {
            match name {
                $(RouteName::$route => {
                    // Boxed, so that the future of each request is as large as its own handler's, not as the largest.
                    let answer: Result<contract::$route> = Box::pin(async {
                        let $api = &api;
                        let asked: Asked<contract::$route> = raw.read()?;
                        let $asked = &asked;
                        $answer
                    })
                    .await;
                    answer.map(Outcome::respond)
                })+
            }
        }
    };
}

handlers! {
    SessionCreate => |api, asked| {
        let begun = session::login(api, &asked.body, asked.client()).await?;
        let reply = reply::LoggedIn { authenticated: true, default: begun.default };
        Ok(Outcome::with(reply, [begun.cookie]))
    };
    SessionDelete => |api, asked| {
        if let Some(token) = session::cookie(&asked.headers) {
            session::end(api, &token).await?;
        }
        Ok(Outcome::with(reply::Authenticated { authenticated: false }, session::cleared()))
    };
    StateRead => |api, asked| {
        let caller = asked.caller()?;
        let csrf_token = caller.session.as_deref().map(session::csrf).unwrap_or_default();
        let theme = user::settings(api).await?.theme;
        let super_user = caller.admin.super_user;
        let version = overview::version_number();
        let state = reply::State { super_user, csrf_token, theme, user: None, active: false, plan: None, version, sso: None };
        Ok(state.into())
    };
    SettingsRead => |api, asked| Ok(settings::read(api, asked.caller()?).await?.into());
    SettingsUpdate => |api, asked| Ok(settings::update(api, asked.caller()?, &asked.body).await?.into());
    AdminList => |api, _| Ok(administrator::list(api).await?.into());
    AdminRead => |api, asked| Ok(administrator::read(api, asked.path.0).await?.into());
    AdminUpdate => |api, asked| {
        Ok(administrator::update(api, asked.caller()?, asked.path.0, &asked.body).await?.into())
    };

    OrganizationList => |api, asked| {
        let all = organization::list(api).await?;
        let Paged { items, page, page_total } = page(all, asked.query.page, 5);
        let mut organizations = Vec::with_capacity(items.len());
        for item in items {
            organizations.push(shown(api, item).await?);
        }
        Ok(match page {
            Some(page) => Listed::Page(reply::OrganizationPage { page, page_total, organizations }),
            None => Listed::All(organizations),
        }
        .into())
    };
    OrganizationRead => |api, asked| Ok(shown(api, user::organization(api, asked.path.0).await?).await?.into());
    OrganizationCreate => |api, asked| Ok(shown(api, organization::create(api, &asked.body).await?).await?.into());
    OrganizationUpdate => |api, asked| {
        Ok(shown(api, organization::update(api, asked.path.0, &asked.body).await?).await?.into())
    };
    OrganizationDelete => |api, asked| {
        organization::remove(api, asked.path.0).await?;
        Ok(Empty {}.into())
    };

    UserListing => |api, asked| Ok(user::list(api, asked.path.0, &asked.query).await?.into());
    UserRead => |api, asked| Ok(user::detail(api, asked.path.0, asked.path.1).await?.into());
    UserCreate => |api, asked| {
        let user = user::create(api, asked.path.0, &asked.body).await?;
        Ok(vec![user::show_whole(api, user).await?].into())
    };
    UserCreateMany => |api, asked| {
        Ok(user::create_many(api, asked.path.0, &asked.body).await?.into())
    };
    UserUpdate => |api, asked| {
        let user = user::update(api, asked.path.0, asked.path.1, &asked.body).await?;
        Ok(user::show_whole(api, user).await?.into())
    };
    UserDelete => |api, asked| {
        user::remove(api, asked.path.0, asked.path.1).await?;
        Ok(Empty {}.into())
    };
    UserOtpRenew => |api, asked| {
        let user = user::renew_otp(api, asked.path.0, asked.path.1).await?;
        Ok(user::show_whole(api, user).await?.into())
    };

    ServerList => |api, asked| {
        let Paged { items, page, page_total } = page(server::list(api).await?, asked.query.page, 3);
        let scene = Scene::all(api, &items).await?;
        let servers: Vec<_> = items.into_iter().map(|server| scene.show(server)).collect();
        Ok(match page {
            Some(page) => Listed::Page(reply::ServerPage { page, page_total, servers }),
            None => Listed::All(servers),
        }
        .into())
    };
    ServerRead => |api, asked| Ok(server::show(api, api.have(asked.path.0, "server").await?.record).await?.into());
    ServerCreate => |api, asked| Ok(server::show(api, server::create(api, &asked.body).await?).await?.into());
    ServerUpdate => |api, asked| {
        Ok(match server::update(api, asked.path.0, &asked.body).await? {
            Done::Now(server) => Done::Now(server::show(api, server).await?),
            Done::Later(background) => Done::Later(background),
        }
        .into())
    };
    ServerDelete => |api, asked| {
        server::remove(api, asked.path.0).await?;
        Ok(Empty {}.into())
    };
    ServerOrganizationList => |api, asked| Ok(server::organizations(api, asked.path.0).await?.into());
    ServerOrganizationAttach => |api, asked| Ok(server::attach(api, asked.path.0, asked.path.1).await?.into());
    ServerOrganizationDetach => |api, asked| {
        server::detach(api, asked.path.0, asked.path.1, false).await?;
        Ok(Empty {}.into())
    };
    ServerRouteList => |api, asked| Ok(route::list(&api.have(asked.path.0, "server").await?.record).into());
    ServerRouteCreate => |api, asked| {
        let network = route::network(&asked.body.network)?;
        Ok(route::put(api, asked.path.0, &[(network, asked.body.clone())]).await?.into())
    };
    ServerRouteCreateMany => |api, asked| {
        let change = |change: &RouteChange| Ok((route::network(&change.network)?, change.clone()));
        let changes: Vec<(IpNet, RouteChange)> = asked.body.iter().map(change).collect::<Answer<_>>()?;
        Ok(route::put(api, asked.path.0, &changes).await?.into())
    };
    ServerRouteUpdate => |api, asked| {
        let network = route::network(&asked.path.1.network.to_string())?;
        Ok(route::put(api, asked.path.0, &[(network, asked.body.clone())]).await?.into())
    };
    ServerRouteDelete => |api, asked| {
        route::remove(api, asked.path.0, asked.path.1.network).await?;
        Ok(Null.into())
    };
    ServerHostList => |api, asked| Ok(server::hosts(api, asked.path.0).await?.into());
    ServerHostAttach => |api, asked| Ok(server::attach_host(api, asked.path.0, asked.path.1).await?.into());
    ServerHostDetach => |api, asked| {
        server::detach_host(api, asked.path.0, asked.path.1).await?;
        Ok(Empty {}.into())
    };
    ServerOperate => |api, asked| {
        let server = server::operate(api, asked.path.0, asked.path.1).await?;
        Ok(server::show(api, server).await?.into())
    };
    ServerOutputRead => |api, asked| Ok(server::output(api, asked.path.0).await?.into());
    ServerOutputClear => |api, asked| {
        server::clear(api, asked.path.0).await?;
        Ok(Empty {}.into())
    };

    HostList => |api, asked| {
        let Paged { items, page, page_total } = page(host::list(api).await?, asked.query.page, 10);
        let hosts = host::show_all(api, items).await?;
        Ok(match page {
            Some(page) => Listed::Page(reply::HostPage { page, page_total, hosts }),
            None => Listed::All(hosts),
        }
        .into())
    };
    HostRead => |api, asked| Ok(host::read(api, asked.path.0).await?.into());
    HostUpdate => |api, asked| Ok(host::update(api, asked.path.0, &asked.body).await?.into());
    HostDelete => |api, asked| {
        host::remove(api, asked.path.0).await?;
        Ok(Empty {}.into())
    };
    HostUsage => |api, asked| Ok(host::usage(api, asked.path.0, asked.path.1).await?.into());

    EventPoll => |api, _| Ok(told(event::poll(api, None).await?).into());
    EventPollAfter => |api, asked| Ok(told(event::poll(api, Some(asked.path.0)).await?).into());
    StatusRead => |api, _| Ok(overview::status(api).await?.into());
    LogList => |api, _| {
        let entry = |log: culvert_model::record::Log| reply::LogEntry {
            id: log.id,
            timestamp: log.timestamp,
            message: log.message,
        };
        Ok(overview::log(api).await?.into_iter().map(entry).collect::<Vec<_>>().into())
    };
    LogsRead => |api, _| {
        let line = |log: culvert_model::record::Log| {
            format!("[{}] {}", calendar::text(log.timestamp.unsigned_abs() * 1000), log.message)
        };
        let mut output: Vec<String> = overview::log(api).await?.into_iter().map(line).collect();
        output.reverse();
        Ok(reply::Logs { output }.into())
    };
    PingRead => |api, _| Ok(overview::ping(api).await?.into());
    CheckRead => |api, _| Ok(overview::ping(api).await?.into());
    RobotsRead => |_api, _| Ok(reply::Text(robots().into()).into());

    KeyLinkCreate => |api, asked| Ok(link::create(api, asked.path.0, asked.path.1).await?.into());
    DataArchive => |api, asked| Ok(archive(api, asked.path, asked.host()).await?.into());
    DataProfile => |api, asked| Ok(single(api, asked.path, asked.host()).await?.into());
    KeyArchive => |api, asked| {
        let (link, user) = link::by_code(api, asked.path.0.reveal()).await?;
        Ok(archive(api, (link.organization, user.id), asked.host()).await?.into())
    };
    KeyProfile => |api, asked| {
        let (link, user) = link::by_code(api, asked.path.0.reveal()).await?;
        Ok(single(api, (link.organization, user.id, asked.path.1), asked.host()).await?.into())
    };
    KeyPage => |api, asked| {
        let (link, user) = link::by_short(api, asked.path.0.reveal()).await?;
        Ok(reply::Page(profile::page(api, &link, &user, asked.host()).await?).into())
    };
    KeyPageDelete => |api, asked| {
        link::remove(api, asked.path.0.reveal()).await?;
        Ok(Empty {}.into())
    };
    KeyProfiles => |api, asked| {
        let (link, user) = link::by_short(api, asked.path.0.reveal()).await?;
        let (_, profiles) = profile::all(api, link.organization, user.id, asked.host()).await?;
        let named = profiles.into_iter().map(|profile| (profile.name, profile.text));
        Ok(reply::Profiles(named.collect()).into())
    };
    FormerKeyLinkCreate => |api, asked| Ok(link::create(api, asked.path.0, asked.path.1).await?.into());
    FormerDataArchive => |api, asked| Ok(archive(api, asked.path, asked.host()).await?.into());
    FormerDataProfile => |api, asked| Ok(single(api, asked.path, asked.host()).await?.into());

    JobList => |api, _| Ok(job::list(api).await?.into());
    JobChange => |api, asked| {
        job::change(api, asked.caller()?, asked.path.0, &asked.body.id).await?;
        Ok(Empty {}.into())
    };
    TaskList => |api, _| Ok(task::list(api).await?.into());
    TaskRun => |api, asked| {
        task::run(api, asked.caller()?, &asked.body.id).await?;
        Ok(Empty {}.into())
    };
    PoolList => |api, _| Ok(pool::list(api).await?.into());
    OrganizationCrl => |api, asked| Ok(crl::read(api, asked.path.0).await?.into());
    OrganizationRenew => |api, asked| {
        Ok(renewal::organization(api, asked.caller()?, asked.path.0, &asked.body).await?.into())
    };
    UserCertificates => |api, asked| Ok(renewal::of_user(api, asked.path.0, asked.path.1).await?.into());
    UserRenew => |api, asked| {
        Ok(renewal::user(api, asked.caller()?, asked.path.0, asked.path.1, &asked.body).await?.into())
    };
    ServerCertificates => |api, asked| Ok(renewal::of_server(api, asked.path.0).await?.into());
    ServerRenew => |api, asked| {
        Ok(renewal::server(api, asked.caller()?, asked.path.0, &asked.body).await?.into())
    };
    ClusterRead => |api, _| Ok(cluster::read(api).await?.into());
    ClusterUpdate => |api, asked| Ok(cluster::update(api, asked.caller()?, &asked.body).await?.into());
}

async fn shown(api: &Api, organization: Organization) -> Answer<reply::Organization> {
    let user_count = organization::users(api, organization.id).await?;
    let secret = organization::secret(api, &organization).await?;
    Ok(reply::Organization {
        id: organization.id,
        name: organization.name,
        expiration: organization.ca_expires.map(calendar::text),
        auth_api: organization.auth_api,
        auth_token: secret.as_ref().map(|secret| secret.auth_token.clone()),
        auth_secret: secret.map(|secret| secret.auth_secret),
        user_count,
    })
}

fn told(events: Vec<event::Event>) -> Vec<reply::Event> {
    let event = |event: event::Event| reply::Event {
        id: event.id,
        kind: event.kind.into(),
        resource_id: event.resource,
        timestamp: event.timestamp as f64,
    };
    events.into_iter().map(event).collect()
}

type Of = (culvert_model::Id, culvert_model::Id);

async fn archive(api: &Api, (organization, user): Of, host: Option<&str>) -> Answer<reply::Archive> {
    let (user, profiles) = profile::all(api, organization, user, host).await?;
    let bytes = profile::archive(&profiles, api.now().await? / 1000);
    Ok(reply::Archive { name: format!("{}.tar", crate::filter::file(&user.name)), bytes })
}

type OfServer = (culvert_model::Id, culvert_model::Id, culvert_model::Id);

async fn single(api: &Api, (organization, user, server): OfServer, host: Option<&str>) -> Answer<reply::Profile> {
    let profile = profile::one(api, organization, user, server, host).await?;
    Ok(reply::Profile { name: profile.name, bytes: profile.text.into_bytes() })
}
