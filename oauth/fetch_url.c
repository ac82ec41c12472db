// SPDX-License-Identifier: ISC
#include "oauth/fetch_url.h"

#include "oauth/json.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* RFC 3986 section 3.1 */
#define SCHEME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."

bool ia_fetch_url_is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0;
}

/* The addresses that never leave this machine; a name that only begins like one is not among them. */
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static const char *find_url_fault(CURLU *url, bool insecure_http)
{
    const char *fault = NULL;
    char *scheme = url_part(url, CURLUPART_SCHEME), *host = url_part(url, CURLUPART_HOST);
    char *user = url_part(url, CURLUPART_USER), *password = url_part(url, CURLUPART_PASSWORD);
    if (!scheme || !host)
        fault = "it has no host";
    else if (user || password)
        fault = "it holds credentials";
    else if (strcmp(scheme, "http") == 0)
        fault = insecure_http || is_loopback(host) ? NULL : "plain http is for loopback only (see insecure_http_jwks)";
    else if (strcmp(scheme, "https") != 0)
        fault = "it is not https";
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(password);
    return fault;
}

enum ia_rc ia_fetch_url_check(const char *text, bool insecure_http, struct ia_err *err)
{
    if (strlen(text) >= IA_FETCH_URL_MAX)
        return ia_fail(err, IA_USAGE, "URL: longer than %d bytes", IA_FETCH_URL_MAX - 1);
    /* libcurl takes `https:///host` and `https:/host` for `https://host`; every other reader of the URL does not. */
    const char *host = text + strspn(text, SCHEME_CHARACTERS);
    if (host == text || strncmp(host, "://", 3) != 0 || host[3] == '/')
        return ia_fail(err, IA_USAGE, "URL: it has no scheme or no host");
    CURLU *url = curl_url();
    if (!url)
        return ia_nomem(err);
    const char *fault = curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK ? find_url_fault(url, insecure_http)
                                                                               : "it does not parse as http or https";
    curl_url_cleanup(url);
    return fault ? ia_fail(err, IA_USAGE, "URL: %s", fault) : IA_OK;
}

enum ia_rc ia_fetch_metadata_url(const char *issuer, bool rfc8414, bool insecure_http, char out[IA_FETCH_URL_MAX],
                                 struct ia_err *err)
{
    static const char oidc[] = "/.well-known/openid-configuration", oauth[] = "/.well-known/oauth-authorization-server";
    enum ia_rc rc = ia_fetch_url_check(issuer, insecure_http, err);
    if (rc != IA_OK)
        return rc;
    if (strpbrk(issuer, "?#"))
        return ia_fail(err, IA_USAGE, "URL: an issuer has neither query nor fragment (RFC 8414 section 2)");
    size_t base = (size_t)(strstr(issuer, "://") - issuer) + 3;
    base += strcspn(issuer + base, "/");
    size_t len = strlen(issuer);
    while (len > base && issuer[len - 1] == '/')
        len--;
    int n = rfc8414 ? snprintf(out, IA_FETCH_URL_MAX, "%.*s%s%.*s", (int)base, issuer, oauth, (int)(len - base),
                               issuer + base)
                    : snprintf(out, IA_FETCH_URL_MAX, "%.*s%s", (int)len, issuer, oidc);
    return n < IA_FETCH_URL_MAX ? IA_OK : ia_fail(err, IA_USAGE, "URL: too long");
}

enum ia_rc ia_fetch_metadata_read(const char *body, size_t len, const char *issuer, bool insecure_http,
                                  char out[IA_FETCH_URL_MAX], struct ia_err *err)
{
    bool wrong;
    const char *why;
    json_auto_t *metadata = ia_json_load(body, len, &why);
    if (!metadata)
        return ia_fail(err, IA_FORMAT, "metadata: the answer %s", why);
    const char *named = ia_json_text(metadata, "issuer", &wrong);
    if (!named || strcmp(named, issuer) != 0)
        return ia_fail(err, IA_FORMAT, "metadata: its issuer is another one");
    const char *uri = ia_json_text(metadata, "jwks_uri", &wrong);
    if (!uri)
        return ia_fail(err, IA_FORMAT, "metadata: no jwks_uri");
    if (ia_fetch_url_is_http(uri) && !ia_fetch_url_is_http(issuer) && !insecure_http)
        return ia_fail(err, IA_FORMAT, "metadata: its jwks_uri is plain http");
    enum ia_rc rc = ia_fetch_url_check(uri, insecure_http, err);
    if (rc == IA_OK)
        snprintf(out, IA_FETCH_URL_MAX, "%s", uri);
    return rc;
}

int ia_fetch_max_age(const char *cache_control)
{
    long age = IA_FETCH_MAX_AGE_DEFAULT_S;
    for (const char *p = cache_control + strspn(cache_control, " \t,"); *p; p += strspn(p, " \t,")) {
        size_t len = strcspn(p, ",");
        if (strncasecmp(p, "no-store", 8) == 0 || strncasecmp(p, "no-cache", 8) == 0)
            return IA_FETCH_MAX_AGE_MIN_S;
        if (strncasecmp(p, "max-age=", 8) == 0)
            age = strtol(p + 8 + (p[8] == '"'), NULL, 10);
        p += len;
    }
    if (age < IA_FETCH_MAX_AGE_MIN_S)
        return IA_FETCH_MAX_AGE_MIN_S;
    return age > IA_FETCH_MAX_AGE_MAX_S ? IA_FETCH_MAX_AGE_MAX_S : (int)age;
}
