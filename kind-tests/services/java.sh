#!/usr/bin/env bash
# Prints the directory of a server's jars, as named in java.txt; fetches them with Maven if necessary (seconds):
#   java.sh NAME
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?java.sh: name a server of java.txt}
line=$(grep "^$name " "$here/java.txt") || { echo "java.sh: java.txt has no $name" >&2; exit 1; }
read -r _ artifact _ <<<"$line"
IFS=: read -r group id version <<<"$artifact"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator
jars=$cache/servers/$name-$(sha256sum <<<"$line" | cut -c1-12)
mkdir -p "$cache/servers"
exec 9>"$jars.lock"
flock 9
if ! [ -e "$jars/complete" ]; then
	for tool in java mvn; do
		command -v "$tool" >/dev/null || { echo "java.sh: $tool is missing (Debian packages openjdk-17-jre-headless, maven)" >&2; exit 1; }
	done
	rm -rf "$jars"
	mkdir -p "$jars"
	cat >"$jars/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>$name</artifactId><version>1</version>
<dependencies><dependency><groupId>$group</groupId><artifactId>$id</artifactId><version>$version</version></dependency></dependencies></project>
POM
	(cd "$jars" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=. -DincludeScope=runtime) >&2
	touch "$jars/complete"
fi
echo "$jars"
