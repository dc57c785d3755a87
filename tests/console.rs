//! The console in a real Chromium: the main job by clicking, live, with nothing from elsewhere.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::lines::Lines;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::{Namespace, Town};
use culvert_tests::openvpn::Client;
use culvert_tests::story::Story;
use fantoccini::{Client as Browser, ClientBuilder, Locator};
use http::Method;
use serde_json::{Value, json};

const DRIVER: u16 = 9515;
const SOON: Duration = Duration::from_secs(20);

struct Driver(Child);

impl Driver {
    fn start(namespace: &Namespace) -> Result<Self> {
        let mut command = namespace.command("chromedriver");
        command.arg(format!("--port={DRIVER}")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let printed = Lines::default();
        printed.read(process.stdout.take().context("its output")?);
        let driver = Self(process);
        printed.wait(0, SOON, |line| line.contains("started successfully"))?;
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn browser(profile: &Path) -> Result<Browser> {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--ignore-certificate-errors",
        "--window-size=1180,860",
        &format!("--user-data-dir={}", profile.display()),
    ];
    let capabilities = json!({ "goog:chromeOptions": { "args": arguments, "binary": "/usr/bin/chromium" } });
    let capabilities = capabilities.as_object().context("an object")?.clone();
    Ok(ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{DRIVER}"))
        .await?)
}

async fn fill(browser: &Browser, form: &str, field: &str, value: &str) -> Result<()> {
    let element = browser.wait().at_most(SOON).for_element(Locator::Css(&format!("{form} [name={field}]"))).await?;
    element.clear().await?;
    element.send_keys(value).await?;
    Ok(())
}

async fn click(browser: &Browser, css: &str) -> Result<()> {
    browser.wait().at_most(SOON).for_element(Locator::Css(css)).await?.click().await?;
    Ok(())
}

async fn shown(browser: &Browser, css: &str) -> Result<()> {
    browser.wait().at_most(SOON).for_element(Locator::Css(css)).await.with_context(|| format!("{css} is not shown"))?;
    Ok(())
}

async fn picture(browser: &Browser, name: &str) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), browser.screenshot().await?)?;
    Ok(())
}

/// What a person does to get in.
async fn log_in(browser: &Browser, (username, password): &(String, String)) -> Result<()> {
    browser.goto(&format!("https://{}/", Town::SERVER)).await?;
    fill(browser, "#login", "username", username).await?;
    fill(browser, "#login", "password", password).await?;
    picture(browser, "login.png").await?;
    click(browser, "#login button").await?;

    // The first login asks for a password of one's own.
    fill(browser, "form[name=password]", "password", "correct horse battery").await?;
    click(browser, "form[name=password] button").await
}

/// What a person clicks until the server runs.
async fn set_up(browser: &Browser, credentials: &(String, String)) -> Result<()> {
    log_in(browser, credentials).await?;
    fill(browser, "form[name=organization]", "name", "acme").await?;
    click(browser, "form[name=organization] button").await?;
    for user in ["alice", "bob"] {
        fill(browser, "[data-organization=acme] form[name=user]", "name", user).await?;
        click(browser, "[data-organization=acme] form[name=user] button").await?;
        shown(browser, &format!("[data-user={user}]")).await?;
    }

    click(browser, "nav a[data-page=servers]").await?;
    fill(browser, "form[name=server]", "name", "office").await?;
    fill(browser, "form[name=server]", "network", "10.40.0.0/24").await?;
    fill(browser, "form[name=server]", "port", "1194").await?;
    click(browser, "form[name=server] button").await?;
    click(browser, "[data-server=office] form[name=attach] button").await?;
    click(browser, "[data-server=office] [data-operation=start]:not([disabled])").await?;
    shown(browser, "[data-server=office][data-status=online]").await
}

#[test]
fn the_main_job_by_clicking() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let credentials = story.appliance.credentials()?;
    let _driver = Driver::start(&story.client)?;
    let profile = tempfile::tempdir()?;
    story.client.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let browser = browser(profile.path()).await?;
            let done = by_clicking(&browser, &story, &credentials).await;
            if done.is_err() {
                picture(&browser, "failed.png").await?;
            }
            browser.close().await?;
            done
        })
    })?
}

async fn by_clicking(browser: &Browser, story: &Story, credentials: &(String, String)) -> Result<()> {
    set_up(browser, credentials).await?;

    // A script would use the API; here it only fetches the profile that the page links to.
    let mut console = story.console.clone();
    let own = (credentials.0.clone(), "correct horse battery".to_string());
    let profile = std::thread::scope(|scope| {
        scope
            .spawn(|| -> Result<String> {
                console.log_in(&own)?;
                let organization = console.get("/organization")?[0]["id"].as_str().context("its id")?.to_string();
                let users = console.get(&format!("/user/{organization}"))?;
                let user = users
                    .as_array()
                    .context("users")?
                    .iter()
                    .find(|user| user["name"] == "alice")
                    .context("alice")?
                    .clone();
                let server = console.get("/server")?[0]["id"].as_str().context("its id")?.to_string();
                let path = format!("/data/{organization}/{}/{server}.key", user["id"].as_str().context("its id")?);
                Ok(console.ask(Method::GET, &path, None)?.text())
            })
            .join()
            .map_err(|_| anyhow::anyhow!("the script panicked"))?
    })?;

    // The page follows by itself: nobody clicks from here on.
    click(browser, "nav a[data-page=organizations]").await?;
    shown(browser, "[data-user=alice][data-online=false]").await?;
    let mut client = Client::start(&story.client, &profile, None, &[])?;
    client.connected(SOON)?;
    shown(browser, "[data-user=alice][data-online=true]").await?;
    picture(browser, "organizations.png").await?;
    click(browser, "nav a[data-page=servers]").await?;
    shown(browser, "[data-server=office] details").await?;
    picture(browser, "servers.png").await?;
    click(browser, "nav a[data-page=organizations]").await?;
    client.stop()?;
    shown(browser, "[data-user=alice][data-online=false]").await?;

    let elsewhere = browser
        .execute("return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))", vec![])
        .await?;
    ensure!(elsewhere == Value::Array(Vec::new()), "requests to others: {elsewhere}");
    let inline = browser
        .execute("return document.querySelectorAll('script:not([src]), [style], [onclick]').length", vec![])
        .await?;
    ensure!(inline == 0, "inline scripts or styles: {inline}");
    Ok(())
}

#[test]
fn the_console_says_that_the_database_is_away() -> Result<()> {
    let town = Town::new()?;
    let set = ReplicaSet::start_in(town.server.name(), std::net::Ipv4Addr::LOCALHOST.into(), 1)?;
    let story = Story::begin(town, Setup::new(&set.uri("culvert"), Town::SERVER))?;
    let credentials = story.appliance.credentials()?;
    let _driver = Driver::start(&story.client)?;
    let profile = tempfile::tempdir()?;
    story.client.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let browser = browser(profile.path()).await?;
            log_in(&browser, &credentials).await?;
            shown(&browser, "header + p.fault[hidden]").await?;
            set.freeze(0)?;
            shown(&browser, "header + p.fault:not([hidden])").await?;
            picture(&browser, "away.png").await?;
            set.thaw(0)?;
            shown(&browser, "header + p.fault[hidden]").await?;
            browser.close().await?;
            Ok(())
        })
    })?
}

#[test]
fn every_page_has_its_shield() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    for path in ["/", "/login", "/s/app.js", "/state", "/no/such/path"] {
        let answer = story.console.ask(Method::GET, path, None)?;
        let header =
            |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
        let policy = header("content-security-policy");
        ensure!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        ensure!(header("strict-transport-security").contains("max-age=31536000"), "{path}");
        ensure!(header("x-content-type-options") == "nosniff", "{path}");
        ensure!(header("x-frame-options") == "DENY" && header("referrer-policy") == "no-referrer", "{path}");
    }
    Ok(())
}
