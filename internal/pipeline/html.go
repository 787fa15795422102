package pipeline

import "github.com/microcosm-cc/bluemonday"

// sanitizer makes HTML from a message fit to be shown: no scripts, no styles that reach out, no forms. It allows what
// people write with: text, links, tables, images.
type sanitizer struct{ policy *bluemonday.Policy }

func newSanitizer() sanitizer {
	p := bluemonday.UGCPolicy()
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AllowURLSchemes("http", "https", "mailto", "cid")
	return sanitizer{p}
}

func (s sanitizer) clean(html string) string {
	if html == "" {
		return ""
	}
	return s.policy.Sanitize(html)
}
