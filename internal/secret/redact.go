package secret

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Mask is what stands where a secret was.
const Mask = "••••••"

// minSecret is the shortest text that is masked, in bytes: shorter ones would
// blot out words that have nothing to do with a secret.
const minSecret = 6

// Redactor masks secret values in lines of text. It is immutable and safe for
// concurrent use; nil masks nothing.
type Redactor struct{ replacer *strings.Replacer }

// NewRedactor masks values in all the forms in which they usually leak: as
// they are, base64 (also in the middle of something longer, also wrapped),
// URL-escaped and JSON-escaped. A value of several lines is masked line by
// line. What is shorter than six bytes is left alone.
func NewRedactor(values ...string) *Redactor {
	var forms []string
	for _, v := range values {
		forms = append(forms, valueForms(v)...)
	}
	forms = slices.DeleteFunc(forms, func(f string) bool { return len(f) < minSecret })
	// The replacer takes the first that fits: the longest must come first, or
	// the tail of a long secret stays when a short one is its beginning.
	slices.SortFunc(forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	forms = slices.Compact(forms)
	if len(forms) == 0 {
		return nil
	}
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range forms {
		pairs = append(pairs, f, Mask)
	}
	return &Redactor{replacer: strings.NewReplacer(pairs...)}
}

// Line returns the line with every secret masked.
func (r *Redactor) Line(line string) string {
	if r == nil {
		return line
	}
	return r.replacer.Replace(line)
}

func valueForms(value string) []string {
	var forms []string
	texts := []string{value}
	if strings.ContainsAny(value, "\r\n") {
		texts = append(texts, strings.FieldsFunc(value, func(r rune) bool { return r == '\r' || r == '\n' })...)
	}
	for _, text := range texts {
		// White space at the ends is often lost on the way, and hides nothing.
		text = strings.TrimSpace(text)
		if len(text) < minSecret {
			continue
		}
		forms = append(forms, text)
		forms = append(forms, base64Forms(text)...)
		forms = append(forms, urlForms(text)...)
		forms = append(forms, jsonForms(text)...)
	}
	if len(value) >= minSecret {
		// With the final newline that `base64 < file` would see.
		forms = append(forms, base64Forms(value)...)
	}
	return forms
}

// base64Forms returns the text's encodings: whole, cut as tools wrap their
// output, and those that it has inside a longer text, where it can begin at any of
// the three places of a group of bytes.
func base64Forms(text string) []string {
	var forms []string
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		whole := enc.EncodeToString([]byte(text))
		forms = append(forms, whole, strings.TrimRight(whole, "="))
		for _, width := range []int{64, 76} {
			if len(whole) > width {
				for line := range slices.Chunk([]byte(whole), width) {
					forms = append(forms, string(line))
				}
			}
		}
		for before := range 3 {
			inside := enc.EncodeToString(append(make([]byte, before), text...))
			// Characters that share bits with a neighbour are unknown: those
			// at the start, and the one of the last, incomplete group.
			first := []int{0, 2, 3}[before]
			last := (before + len(text)) * 8 / 6
			forms = append(forms, inside[first:last])
		}
	}
	return forms
}

var percentByte = regexp.MustCompile(`%[0-9A-F]{2}`)

func urlForms(text string) []string {
	var forms []string
	for _, escaped := range []string{url.QueryEscape(text), url.PathEscape(text)} {
		forms = append(forms, escaped, percentByte.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	return forms
}

func jsonForms(text string) []string {
	var forms []string
	for _, html := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		// A string always has an encoding.
		_ = e.Encode(text)
		quoted := strings.TrimSuffix(b.String(), "\n")
		forms = append(forms, quoted[1:len(quoted)-1])
	}
	return forms
}
