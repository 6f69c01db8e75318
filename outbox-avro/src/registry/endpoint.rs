//! One URL of a registry, and as whom it is asked.

use percent_encoding::percent_decode_str;
use relaybox_core::{Error, ErrorKind, Result};
use reqwest::{RequestBuilder, Url};

use super::{CONFIGURE, Secret, config::Login};

pub(super) struct Endpoint {
    /// Without user and password.
    base: Url,
    login: Option<Login>,
}

impl Endpoint {
    /// The configured login goes before the one in the URL.
    pub(super) fn parse(url: &str, login: Option<&Login>) -> Result<Self> {
        // The parser's error is not passed on: nobody knows what a wrong URL has in it, and where.
        let invalid = || {
            Error::new(ErrorKind::Invalid, CONFIGURE)
                .detail("a URL is not of the form https://host:port/path")
        };
        let mut base = Url::parse(url).map_err(|_| invalid())?;
        let is_http = matches!(base.scheme(), "http" | "https");
        if !is_http || !base.has_host() || base.query().is_some() || base.fragment().is_some() {
            return Err(invalid());
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let in_url = (!base.username().is_empty() || base.password().is_some()).then(|| {
            let password = Secret::new(decode(base.password().unwrap_or_default()));
            Login::Basic(decode(base.username()), password)
        });
        base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| invalid())?;
        Ok(Self { base, login: login.cloned().or(in_url) })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The address of a resource; each segment is encoded.
    pub(super) fn resource(&self, path: &[&str], query: &str) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::new(ErrorKind::Invalid, CONFIGURE))?
            .pop_if_empty()
            .extend(path);
        url.set_query((!query.is_empty()).then_some(query));
        Ok(url)
    }

    pub(super) fn log_in(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            None => request,
            Some(Login::Basic(user, password)) => request.basic_auth(user, Some(password.expose())),
            Some(Login::Bearer(token)) => request.bearer_auth(token.expose()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_and_a_subject_is_one_segment() {
        for base in ["http://r:1/apis/ccompat/v7", "http://r:1/apis/ccompat/v7/"] {
            let endpoint = Endpoint::parse(base, None).unwrap();
            let url = endpoint.resource(&["subjects", "a/b c?", "versions"], "verbose=true");
            assert_eq!(
                url.unwrap().as_str(),
                "http://r:1/apis/ccompat/v7/subjects/a%2Fb%20c%3F/versions?verbose=true"
            );
        }
    }

    #[test]
    fn a_login_is_taken_out_of_the_url_and_decoded() {
        let endpoint = Endpoint::parse("https://us%40er:p%2fw@r/x", None).unwrap();
        assert_eq!(endpoint.base.as_str(), "https://r/x");
        let Some(Login::Basic(user, password)) = &endpoint.login else { panic!("no login") };
        assert_eq!((user.as_str(), password.expose()), ("us@er", "p/w"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        for wrong in
            ["hunter2", "ftp://u:hunter2@h", "http://u:hunter2@h:99999", "http://h/?hunter2"]
        {
            let error = Endpoint::parse(wrong, None).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
