package manifest

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"landward/internal/landward"
)

// The forms of values. schema.json has the same ones.
var (
	durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	sizeForm     = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?)([KMGTkmgt])(i?[Bb])?$`)
	healthForm   = regexp.MustCompile(`^/[!-~]*$`)
	imageForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)
	scheduleForm = regexp.MustCompile(`^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[0-9A-Za-z*,/?-]+( +[0-9A-Za-z*,/?-]+){4})$`)
	volumeForm   = regexp.MustCompile(`^([a-z]([a-z0-9-]{0,28}[a-z0-9])?):(/[^:]+?)(:ro)?$`)
)

// ParseSize reads "256M" or "1.5G" as bytes; the units are powers of 1024.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, landward.Invalid("size", "%q is not a size", landward.Printable(s)).WithHint("write 256M or 1G")
	}
	v, err := strconv.ParseFloat(m[1], 64)
	shift := 10 * (1 + strings.Index("KMGT", strings.ToUpper(m[3])))
	bytes := v * float64(int64(1)<<shift)
	if err != nil || bytes > math.MaxInt64/2 {
		return 0, landward.Invalid("size", "%q is too large", landward.Printable(s))
	}
	return int64(bytes), nil
}
