#!/bin/sh
# Fills in /etc/nginx/templates/*.template from the environment into conf.d:
# variables that are set, and no others, as the official image does.
set -e
from=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
to=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
[ -d "$from" ] || exit 0
names=$(awk 'BEGIN { for (name in ENVIRON) printf "${%s} ", name }')
for template in "$from"/*.template; do
	[ -e "$template" ] || continue
	name=$(basename "$template" .template)
	envsubst "$names" <"$template" >"$to/$name"
done
