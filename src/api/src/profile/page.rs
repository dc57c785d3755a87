//! The page behind a short link: downloads for a person, without any script.

use culvert_model::record::{ProfileLink, User};

use crate::answer::Answer;
use crate::api::Api;
use crate::server;

/// The page.
///
/// # Errors
///
/// The store can't be reached.
pub async fn page(api: &Api, link: &ProfileLink, user: &User, asked: Option<&str>) -> Answer<String> {
    let mut items = String::new();
    for server in server::list(api).await? {
        let in_group = server.groups.is_empty() || server.groups.iter().any(|group| user.groups.contains(group));
        if server.organizations.contains(&link.organization) && in_group {
            let (id, name) = (server.id, escaped(&server.name));
            items.push_str(&format!("<li><a href=\"/key/{}/{id}.key\">{name}</a></li>\n", link.id));
        }
    }
    if items.is_empty() {
        items.push_str("<li>There is no server for you yet.</li>\n");
    }
    let uri = asked.map(|host| {
        format!("<p>In a Pritunl client, import <code>pritunl://{}/ku/{}</code></p>\n", escaped(host), link.short)
    });
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>VPN profiles of {user}</title>\n</head>\n<body>\n\
         <h1>VPN profiles of {user}</h1>\n<p><a href=\"/key/{code}.tar\">All profiles as an archive</a></p>\n\
         <ul>\n{items}</ul>\n{uri}</body>\n</html>\n",
        user = escaped(&user.name),
        code = link.id,
        uri = uri.unwrap_or_default(),
    ))
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, sign| {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            sign => escaped.push(sign),
        }
        escaped
    })
}
