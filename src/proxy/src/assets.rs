//! The console's files, which are part of the program.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::answer::Outward;

/// A file of the console.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    media: &'static str,
    tag: &'static str,
    bytes: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at this path, if it is one of the console's.
#[must_use]
pub fn find(path: &str) -> Option<&'static Asset> {
    let name = match path {
        "/" | "/login" => "index.html",
        _ => path.strip_prefix("/s/")?,
    };
    ASSETS.binary_search_by(|asset| asset.name.cmp(name)).ok().map(|place| &ASSETS[place])
}

impl Asset {
    /// The file, or word that the client has it already.
    #[must_use]
    pub fn response(&self, asked: &HeaderMap, head: bool) -> Response<Outward> {
        let known = asked.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let fresh = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == self.tag));
        let head = head && !fresh;
        let bytes = if fresh || head { &[][..] } else { self.bytes };
        let mut response = Response::new(Outward::whole(Bytes::from_static(bytes)));
        if fresh {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, HeaderValue::from_static(self.tag));
        // Kept by the browser, and asked for again each time, so that an upgrade shows at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        if head {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.bytes.len()));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_its_files_are_there_and_nothing_else() {
        let page = find("/").expect("the console has a page");
        assert_eq!((page.name, page.media), ("index.html", "text/html; charset=utf-8"));
        assert!(find("/login").is_some() && find("/s/app.js").is_some());
        for path in ["/s/", "/s", "/s/../index.html", "/s//app.js", "/index.html", "/s/app.js/", "/S/app.js", ""] {
            assert!(find(path).is_none(), "{path}");
        }
        assert!(ASSETS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn who_has_a_file_gets_word_only() {
        let page = find("/").expect("the console has a page");
        let mut asked = HeaderMap::new();
        assert_eq!(page.response(&asked, false).status(), StatusCode::OK);
        asked.insert(IF_NONE_MATCH, HeaderValue::from_static(page.tag));
        assert_eq!(page.response(&asked, false).status(), StatusCode::NOT_MODIFIED);
    }
}
