package static

import (
	"path"
	"strings"
)

// class says what kind of thing a file is, for caches.
type class uint8

const (
	document class = iota // has its own address: never under a name with a hash
	part                  // loaded together with a page, and must fit it
	media                 // a page can live with an old one for a while
)

// kinds are the content types by ending: the ones that a site is made of. The
// host's own table is not asked, so that a site is the same on every host.
var kinds = map[string]struct {
	kind  string
	class class
}{
	".html": {"text/html; charset=utf-8", document},
	".htm":  {"text/html; charset=utf-8", document},
	".xht":  {"application/xhtml+xml", document}, ".xhtml": {"application/xhtml+xml", document},

	".css": {"text/css; charset=utf-8", part},
	".js":  {"text/javascript; charset=utf-8", part}, ".mjs": {"text/javascript; charset=utf-8", part},
	".cjs": {"text/javascript; charset=utf-8", part},
	".map": {"application/json", part}, ".json": {"application/json", part}, ".json5": {"application/json5", part},
	".jsonld": {"application/ld+json", part}, ".geojson": {"application/geo+json", part},
	".webmanifest": {"application/manifest+json", part},
	".wasm":        {"application/wasm", part},
	".xml":         {"application/xml", part}, ".xsl": {"application/xml", part}, ".xslt": {"application/xml", part},
	".rss": {"application/rss+xml", part}, ".atom": {"application/atom+xml", part},
	".txt": {"text/plain; charset=utf-8", part}, ".text": {"text/plain; charset=utf-8", part},
	".log": {"text/plain; charset=utf-8", part}, ".md": {"text/markdown; charset=utf-8", part},
	".csv": {"text/csv; charset=utf-8", part}, ".tsv": {"text/tab-separated-values; charset=utf-8", part},
	".ics": {"text/calendar; charset=utf-8", part}, ".vcf": {"text/vcard; charset=utf-8", part},
	".vtt": {"text/vtt; charset=utf-8", part}, ".srt": {"text/plain; charset=utf-8", part},
	".yaml": {"application/yaml", part}, ".yml": {"application/yaml", part}, ".toml": {"application/toml", part},
	".glsl": {"text/plain; charset=utf-8", part}, ".sql": {"application/sql", part},

	".svg": {"image/svg+xml", media}, ".png": {"image/png", media}, ".apng": {"image/apng", media},
	".jpg": {"image/jpeg", media}, ".jpeg": {"image/jpeg", media}, ".gif": {"image/gif", media},
	".webp": {"image/webp", media}, ".avif": {"image/avif", media}, ".jxl": {"image/jxl", media},
	".heic": {"image/heic", media}, ".bmp": {"image/bmp", media}, ".ico": {"image/x-icon", media},
	".tif": {"image/tiff", media}, ".tiff": {"image/tiff", media},
	".woff": {"font/woff", media}, ".woff2": {"font/woff2", media}, ".ttf": {"font/ttf", media},
	".otf": {"font/otf", media}, ".ttc": {"font/collection", media}, ".eot": {"application/vnd.ms-fontobject", media},
	".mp4": {"video/mp4", media}, ".m4v": {"video/mp4", media}, ".webm": {"video/webm", media},
	".ogv": {"video/ogg", media}, ".mov": {"video/quicktime", media}, ".mkv": {"video/matroska", media},
	".m3u8": {"application/vnd.apple.mpegurl", media}, ".mpd": {"application/dash+xml", media},
	".ts": {"video/mp2t", media}, ".m4s": {"video/iso.segment", media},
	".mp3": {"audio/mpeg", media}, ".m4a": {"audio/mp4", media}, ".aac": {"audio/aac", media},
	".oga": {"audio/ogg", media}, ".ogg": {"audio/ogg", media}, ".opus": {"audio/ogg", media},
	".wav": {"audio/wav", media}, ".flac": {"audio/flac", media}, ".mid": {"audio/midi", media},
	".glb": {"model/gltf-binary", media}, ".gltf": {"model/gltf+json", media},

	".pdf": {"application/pdf", document}, ".epub": {"application/epub+zip", document},
	".rtf": {"application/rtf", document},
	".zip": {"application/zip", document}, ".gz": {"application/gzip", document}, ".tgz": {"application/gzip", document},
	".bz2": {"application/x-bzip2", document}, ".xz": {"application/x-xz", document},
	".zst": {"application/zstd", document}, ".7z": {"application/x-7z-compressed", document},
	".tar": {"application/x-tar", document}, ".jar": {"application/java-archive", document},
	".apk":  {"application/vnd.android.package-archive", document},
	".doc":  {"application/msword", document},
	".docx": {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", document},
	".xls":  {"application/vnd.ms-excel", document},
	".xlsx": {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", document},
	".ppt":  {"application/vnd.ms-powerpoint", document},
	".pptx": {"application/vnd.openxmlformats-officedocument.presentationml.presentation", document},
	".odt":  {"application/vnd.oasis.opendocument.text", document},
	".ods":  {"application/vnd.oasis.opendocument.spreadsheet", document},
	".odp":  {"application/vnd.oasis.opendocument.presentation", document},
}

const octets = "application/octet-stream"

// kindOf returns the content type of a file and what it is to caches.
func kindOf(name string) (string, class) {
	ext := path.Ext(name)
	k, ok := kinds[ext]
	if !ok {
		if k, ok = kinds[strings.ToLower(ext)]; !ok {
			return octets, document
		}
	}
	return k.kind, k.class
}

// What caches are told.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheAsk     = "no-cache" // keep it, and ask each time whether it is still good
	cacheAWhile  = "public, max-age=300, must-revalidate"
)

// caching returns the Cache-Control of a file.
func (s *Site) caching(name string, c class) string {
	html := strings.HasSuffix(name, ".html") || strings.HasSuffix(name, ".htm")
	switch {
	case s.fixedBelow(name):
		return cacheForever
	case c != document && hashed(path.Base(name)):
		return cacheForever
	case c == part, html:
		return cacheAsk
	}
	return cacheAWhile
}

// hashed reports whether a file's name carries a hash of its content, as
// bundlers write it: app.3f2a9c1b.js, index-BfK3d9aQ.css. A name that is taken
// for one by mistake stays in caches for a year, so words, dates and versions
// must not pass; a hash that is not seen costs a question every time.
func hashed(name string) bool {
	// app.3f2a9c1b.chunk.js.map: endings after the hash do no harm.
	stem := name
	for range 3 {
		ext := path.Ext(stem)
		if ext == "" {
			break
		}
		stem = strings.TrimSuffix(stem, ext)
		if i := strings.LastIndexAny(stem, ".-"); hash(stem[i+1:], i < 0) {
			return true
		}
	}
	return false
}

// hash reports whether s looks like a hash. alone: nothing is before it.
func hash(s string, alone bool) bool {
	var digits, lower, upper, hexLower, hexUpper, base32, changes int
	var last byte
	for i := range len(s) {
		c := s[i]
		var now byte
		switch {
		case c >= '0' && c <= '9':
			now = 'd'
			digits++
			if c >= '2' && c <= '7' {
				base32++
			}
		case c >= 'a' && c <= 'z':
			now = 'l'
			lower++
			if c <= 'f' {
				hexLower++
			}
		case c >= 'A' && c <= 'Z':
			now = 'u'
			upper++
			if c <= 'F' {
				hexUpper++
			}
		default:
			return false
		}
		if now != last && last != 0 {
			changes++
		}
		last = now
	}
	n := len(s)
	hex := digits > 0 && changes >= 3 && (digits+hexLower == n || digits+hexUpper == n)
	switch {
	case n >= 16 && n <= 64 && hex:
		return true
	case n >= 8 && n < 16 && hex:
		return !alone
	case n == 8 && digits > 0 && lower > 0 && upper > 0 && changes >= 5:
		return true // Vite, Rollup
	case n == 8 && digits > 0 && base32+upper == n && changes >= 3:
		return !alone // esbuild
	}
	return false
}
