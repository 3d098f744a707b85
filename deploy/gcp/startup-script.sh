#!/bin/bash
# The startup script of a Debian 13 VM on Google Cloud: Docker, then Redis, Prometheus and the balancer as systemd units.
#
#   gcloud compute instances create … --metadata-from-file startup-script=deploy/gcp/startup-script.sh
#
# Google runs it as root on every boot; a second run changes nothing unless an attribute, a secret or this file has
# changed, and then restarts only what that concerns. Attributes of the instance are its settings (deploy/gcp/README.md has
# the table). Secrets come from Secret Manager by the VM's service account, or are drawn here; they are in files of mode
# 0600 alone. What it says is in /var/log/startup.log, in the journal of google-startup-scripts.service and on the serial
# console. It is long because it is one value of metadata: there is nothing beside it that it could read.
#
# Ends with 0, and otherwise with the reason in the last line:
#   1  unforeseen: the line of this script and the command
#   2  an attribute is wrong, or the balancer refuses its configuration
#   3  packages, an image or the source could not be fetched
#   4  a secret could not be had, or is not one
#   5  a service does not start or does not get healthy
#   6  the metadata server does not answer
#   7  another run has not ended within LOCK_SECONDS
# Secrets, files and units are put in place when everything is fetched and the balancer has accepted its configuration: after
# 2, 3, 4, 6 and 7 what ran before goes on as it was.
set -Eeuo pipefail
umask 022

# The same as in docker-compose.yml; tests-deploy sees to it.
REDIS_IMAGE=redis:8.10.1-alpine
PROMETHEUS_IMAGE=prom/prometheus:v3.14.0

METADATA=http://169.254.169.254/computeMetadata/v1
SECRETS=https://secretmanager.googleapis.com/v1
LOG=/var/log/startup.log
# Longer than a first boot takes.
LOCK_SECONDS=600
# For a service to become healthy; the first start of Prometheus is the slowest.
HEALTHY_SECONDS=90
# For a backend to be eligible, about which there is only a warning: backends may well come later.
READY_SECONDS=5
# Of a unit, while it is waited for; there are two seconds between two.
RESTARTS=3
# For the balancer to stop. It takes 54 s at most: 30 of timeouts.drain, then its farewell to the store and its replicas.
STOP_SECONDS=60
# Between two attempts of apt.
APT_PAUSE_SECONDS=15
# Of a secret: the balancer takes no shorter token, and a password need not be as long.
TOKEN_LEAST=16
PASSWORD_LEAST=8
# The user of the balancer's image; Redis runs as it, too.
USER_ID=65532
# Of Prometheus' image: nobody.
PROMETHEUS_USER_ID=65534

CURL=(curl --disable --silent --show-error --connect-timeout 5 --max-time 30 --retry 5 --retry-connrefused --retry-delay 1 --retry-max-time 60)
CLOSED='--pull never --read-only --cap-drop ALL --security-opt no-new-privileges --network host --log-driver none'
SECRET_DIR=/etc/ballast/secrets
CONFIG_DIR=/etc/ballast/config
changed=()

say() {
    printf '%s %s\n' "$(date --utc +%FT%TZ)" "$*"
}

fail() {
    trap - ERR
    say "error ($1): $2"
    exit "$1"
}

# metadata FILE PATH: asks the metadata server; sets `code` to the status of the answer, which is in the file.
metadata() {
    code=$("${CURL[@]}" --noproxy '*' --header 'Metadata-Flavor: Google' --output "$1" --write-out '%{http_code}' "$METADATA/$2") ||
        fail 6 "the metadata server does not answer: is this a VM of Google's?"
}

# Sets `value` to an attribute of the instance, or to the default $2.
attribute() {
    local code
    metadata "$work/answer" "instance/attributes/$1"
    case $code in
        200) value=$(<"$work/answer") ;;
        404) value=$2 ;;
        *) fail 6 "the metadata server answers $code for the attribute $1" ;;
    esac
}

# setting NAME DEFAULT PATTERN WANTED: the same, held against a pattern. The value is not repeated in the log: somebody may
# have put a secret there.
setting() {
    attribute "$1" "$2"
    [[ $value =~ ^($3)$ ]] || fail 2 "attribute $1: $4"
}

image() {
    setting "$1" "$2" '[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})' \
        'an image with a tag or digest is wanted, as in REGION-docker.pkg.dev/PROJECT/REPOSITORY/load-balancer:1.2.3'
    [[ $value != *:latest ]] || fail 2 "attribute $1: a fixed tag is wanted; what \"latest\" is changes with the day"
}

# All of them, before anything is touched.
read_settings() {
    local secret='([A-Za-z0-9_-]{1,255}(/versions/[0-9]+)?)?' names='a name in Secret Manager is wanted: NAME or NAME/versions/7'
    local backend='[a-z0-9][a-z0-9-]*=[A-Za-z0-9.-]+:[0-9]+'
    setting lb-stack core 'core|full' 'core or full is wanted'
    stack=$value
    image lb-image ''
    lb_image=$value
    attribute lb-config ''
    lb_config=$value
    setting lb-token-secret '' "$secret" "$names"
    token_secret=$value
    setting redis-password-secret '' "$secret" "$names"
    redis_secret=$value
    if [ "$stack" = core ]; then
        image redis-image "$REDIS_IMAGE"
        redis_image=$value
        setting redis-url '' '(rediss?://([A-Za-z0-9_-]+@)?[A-Za-z0-9.-]+(:[0-9]+)?(/[0-9]+)?)?' \
            'redis://HOST:PORT or rediss://HOST:PORT is wanted; its password is what redis-password-secret names'
        redis_url=$value
        [ -z "$redis_url" ] || [ -n "$redis_secret" ] || fail 2 'attribute redis-password-secret: redis-url wants the password of that Redis'
        image prometheus-image "$PROMETHEUS_IMAGE"
        prometheus_image=$value
        attribute prometheus-config ''
        prometheus_config=$value
        setting lb-backends '' "($backend([ ,]+$backend)*)?" 'NAME=HOST:PORT is wanted, more of them after a comma'
        backends=$value
        [ -n "$lb_config$backends" ] || fail 2 'attribute lb-backends: it is missing, and so is lb-config: there is nobody to send requests to'
        [ -z "$lb_config" ] || [ -z "$backends" ] || fail 2 'attribute lb-backends: lb-config has the backends already; remove one of the two'
    else
        image backend-image ''
        backend_image=$value
        setting grafana-password-secret '' "$secret" "$names"
        grafana_secret=$value
        setting lb-source '' 'https://[^[:space:]]+\.tar\.gz' 'the https address of an archive of this repository is wanted: ….tar.gz'
        source=$value
        setting lb-source-sha256 '' '[0-9a-f]{64}' 'the SHA-256 of lb-source is wanted'
        source_sum=$value
    fi
}

# put FILE MODE OWNER <CONTENT: writes a file, whole, unless it is like that already.
put() {
    cat >"$work/new"
    if cmp --silent "$work/new" "$1" && [ "$(stat --format='%a %u' "$1")" = "$2 $3" ]; then
        return
    fi
    install -D --mode="$2" --owner="$3" --group="$3" "$work/new" "$1.new"
    mv --force "$1.new" "$1"
    changed+=("$1")
    say "wrote $1"
}

folder() {
    [ -d "$1" ] || install --directory --mode="$2" --owner="$3" --group="$3" "$1"
}

# A token of the VM's service account, as a header in a file: arguments can be read by everybody.
authorize() {
    local code
    [ ! -e "$work/authorization" ] || return 0
    metadata "$work/token" instance/service-accounts/default/token
    case $code in
        200) ;;
        404) fail 4 'this VM has no service account that it could ask for secrets or images with' ;;
        *) fail 6 "the metadata server answers $code for a token of the service account" ;;
    esac
    metadata "$work/project" project/project-id
    [ "$code" = 200 ] || fail 6 "the metadata server answers $code for the project"
    printf 'Authorization: Bearer %s\n' "$(json access_token "$work/token")" >"$work/authorization"
}

# The first text of that name in a JSON file; for values without quotes or escapes.
json() {
    sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' "$2" | head -n 1
}

# secret FILE NAME LEAST: from Secret Manager; without a name it is drawn, once. It waits in $work until `keep_secrets`.
secret() {
    local name=$2 code
    if [ -z "$name" ] && [ -s "$SECRET_DIR/$1" ]; then
        value=$(<"$SECRET_DIR/$1")
    elif [ -z "$name" ]; then
        value=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    else
        authorize
        [[ $name = */versions/* ]] || name+=/versions/latest
        code=$("${CURL[@]}" --header "@$work/authorization" --output "$work/answer" --write-out '%{http_code}' \
            "$SECRETS/projects/$(<"$work/project")/secrets/$name:access") || fail 4 "Secret Manager does not answer for $2"
        [ "$code" = 200 ] || fail 4 "Secret Manager answers $code for $2: is it there, and may this VM's service account read it (roles/secretmanager.secretAccessor)?"
        value=$(json data "$work/answer" | base64 --decode) || fail 4 "Secret Manager's answer for $2 cannot be read"
        rm "$work/answer"
        # It becomes part of a URL and of Redis' configuration.
        [[ $value =~ ^[A-Za-z0-9._~-]{$3,256}$ ]] || fail 4 "the secret $2 must be $3 to 256 letters, digits or any of . _ ~ -"
    fi
    install -D --mode=600 --owner="$USER_ID" <(printf %s "$value") "$work/secrets/$1"
}

keep_secrets() {
    local file
    folder "$SECRET_DIR" 700 0
    for file in "$work"/secrets/*; do
        put "$SECRET_DIR/${file##*/}" 600 "$USER_ID" <"$file"
    done
}

# Installs what is missing. Another apt may be at work just after a boot: its lock is waited for, and where it is the lists
# that are locked, for which apt has no waiting, it is tried again.
install_docker() {
    local packages=() attempt apt
    apt=(apt-get --quiet=2 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        packages+=(docker.io docker-cli)
    fi
    if [ "$stack" = full ] && ! docker compose version >/dev/null 2>&1; then
        packages+=(docker-compose)
    fi
    if [ ${#packages[@]} -gt 0 ]; then
        say "installing ${packages[*]}"
        # What a boot that was cut off has left half done.
        dpkg --configure -a || fail 3 'dpkg cannot end what an earlier run has begun'
        for attempt in 1 2 3; do
            if "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "${packages[@]}"; then
                break
            fi
            [ "$attempt" -lt 3 ] || fail 3 "apt-get cannot install ${packages[*]}: are Debian's servers reached (Cloud NAT), and is this Debian 13?"
            sleep "$APT_PAUSE_SECONDS"
        done
        changed+=(docker)
    fi
    systemctl is-active --quiet docker || systemctl enable --now --quiet docker || fail 5 'Docker does not start: journalctl -u docker'
}

# Images are fetched here and not by the units, so that a restart needs no registry and no token.
fetch_image() {
    local host=${1%%/*}
    ! docker image inspect "$1" >/dev/null 2>&1 || return 0
    say "fetching $1"
    case $host in
        *-docker.pkg.dev | gcr.io | *.gcr.io)
            authorize
            json access_token "$work/token" | docker login --username oauth2accesstoken --password-stdin "https://$host" >/dev/null 2>&1 ||
                fail 3 "$host takes no token of this VM's service account"
            ;;
    esac
    docker pull --quiet "$1" || fail 3 "the image $1 cannot be fetched: is the name right, and may this VM's service account read it (roles/artifactregistry.reader)?"
}

# unit NAME FILE… <CONTENT: has it installed, enabled and running, restarted where it or one of these files has changed.
# When each file was written is in the unit: it differs, too, where a run that failed before this line has written one. A
# time and no digest, since everybody may read a unit, and could try guesses at a secret on a digest.
unit() {
    local name=$1
    local file=/etc/systemd/system/$name.service
    shift
    {
        cat
        printf '\n'
        stat --format='# with %n of %.9Y' "$@"
    } >"$work/unit"
    put "$file" 644 0 <"$work/unit"
    if [[ " ${changed[*]-} " != *" $file "* ]]; then
        systemctl is-enabled --quiet "$name" || systemctl enable --quiet "$name"
        systemctl start "$name" || give_up "$name" 'does not start'
        return
    fi
    say "starting $name, since its unit or one of its files has changed"
    systemctl daemon-reload
    systemctl enable --quiet "$name"
    systemctl restart "$name" || give_up "$name" 'does not start'
}

give_up() {
    journalctl --unit "$1" --lines 20 --no-pager --output cat || true
    fail 5 "$1 $2; above is its journal: journalctl -u $1"
}

restarts() {
    systemctl show --property NRestarts --value "$1"
}

# wait_for UNIT COMMAND…: until the command succeeds; not for a unit that ends again and again.
wait_for() {
    local unit=$1 end=$((SECONDS + HEALTHY_SECONDS)) most
    most=$(($(restarts "$unit") + RESTARTS))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || give_up "$unit" "has not become healthy in $HEALTHY_SECONDS s"
        [ "$(restarts "$unit")" -lt "$most" ] || give_up "$unit" 'ends again and again'
        sleep 0.5
    done
}

healthy() {
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]
}

# run NAME STOP_SECONDS OPTIONS…: a unit that is one container. Its output is the unit's, hence the journal's.
run() {
    local name=$1 stop=$2
    shift 2
    cat <<END
# Written by the startup script of this VM, which would undo changes.
[Unit]
Description=Ballast: $name
Requires=docker.service
After=docker.service network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStartPre=-/usr/bin/docker rm --force $name
ExecStart=/usr/bin/docker run --rm --name $name $CLOSED $*
ExecReload=/usr/bin/docker kill --signal HUP $name
ExecStop=/usr/bin/docker stop --time $stop $name
Restart=always
RestartSec=2
TimeoutStopSec=$((stop + 20))

[Install]
WantedBy=multi-user.target
END
}

redis() {
    put /etc/ballast/redis.conf 600 "$USER_ID" <<END
bind 127.0.0.1
port 6379
requirepass $(<"$SECRET_DIR/redis-password")
dir /data
save ""
appendonly no
maxmemory 96mb
maxmemory-policy allkeys-lru
END
    unit ballast-redis /etc/ballast/redis.conf < <(
        run ballast-redis 10 --user $USER_ID:$USER_ID --memory 128m --pids-limit 50 --tmpfs /data:mode=1777,size=16m \
            --volume /etc/ballast/redis.conf:/etc/redis.conf:ro --volume "$SECRET_DIR/redis-password:/run/secrets/redis-password:ro" \
            --health-interval 2s --health-timeout 3s --health-retries 5 \
            --health-cmd "'REDISCLI_AUTH=\$\$(cat /run/secrets/redis-password) redis-cli ping | grep -q PONG'" \
            --entrypoint redis-server "$redis_image" /etc/redis.conf
    )
}

prometheus() {
    folder /var/lib/ballast-prometheus 750 "$PROMETHEUS_USER_ID"
    if [ -n "$prometheus_config" ]; then
        put "$CONFIG_DIR/prometheus.yml" 644 0 <<<"$prometheus_config"
    else
        put "$CONFIG_DIR/prometheus.yml" 644 0 <<'END'
# Written by the startup script of this VM. The attribute prometheus-config puts another in its place.
global:
  scrape_interval: 15s
  scrape_timeout: 10s
scrape_configs:
  - job_name: load-balancer
    sample_limit: 50000
    static_configs:
      - targets: ["127.0.0.1:9901"]
  - job_name: prometheus
    static_configs:
      - targets: ["127.0.0.1:9090"]
END
    fi
    unit ballast-prometheus "$CONFIG_DIR/prometheus.yml" < <(
        run ballast-prometheus 30 --user $PROMETHEUS_USER_ID:$PROMETHEUS_USER_ID --memory 1g --pids-limit 200 \
            --volume "$CONFIG_DIR/prometheus.yml:/etc/prometheus/prometheus.yml:ro" --volume /var/lib/ballast-prometheus:/prometheus \
            --health-interval 2s --health-timeout 3s --health-retries 30 --health-cmd "'wget -q -O /dev/null http://127.0.0.1:9090/-/ready'" \
            "$prometheus_image" --config.file=/etc/prometheus/prometheus.yml --web.listen-address=0.0.0.0:9090 \
            --storage.tsdb.path=/prometheus --storage.tsdb.retention.time=31d --storage.tsdb.retention.size=8GB
    )
}

balancer_config() {
    local one
    if [ -n "$lb_config" ]; then
        printf '%s\n' "$lb_config"
        return
    fi
    echo '# Written by the startup script of this VM from the attribute lb-backends. For more than backends: lb-config.'
    for one in ${backends//,/ }; do
        printf '\n[[pool.backend]]\nname = "%s"\naddress = "%s"\n' "${one%%=*}" "${one#*=}"
    done
}

# check_config FILE OPTIONS…: has the balancer look at a configuration, before anything that runs is touched.
check_config() {
    local file=$1
    shift
    docker run --rm --pull never --network none "$@" --volume "$file:/candidate.toml:ro" "$lb_image" check --config /candidate.toml ||
        fail 2 'the balancer refuses its configuration (attribute lb-config or lb-backends); above is why'
}

# balancer_options SECRETS: sets `options`. The environment wins over lb-config: these are what this VM relies on.
balancer_options() {
    options=(--env BALLAST_LISTEN__TRAFFIC=0.0.0.0:5000 --env BALLAST_LISTEN__ADMIN=127.0.0.1:9901
        --env BALLAST_CONTROL__TOKEN_FILE=/run/secrets/token --env BALLAST_STATE__FILE=/var/lib/ballast/state.json
        --env "BALLAST_STORE__URL=${redis_url:-redis://127.0.0.1:6379}" --env BALLAST_STORE__PASSWORD_FILE=/run/secrets/redis-password
        --volume "$1/token:/run/secrets/token:ro" --volume "$1/redis-password:/run/secrets/redis-password:ro"
        --volume /var/lib/ballast:/var/lib/ballast)
}

balancer() {
    local options
    balancer_options "$SECRET_DIR"
    put "$CONFIG_DIR/load-balancer.toml" 644 0 <"$work/load-balancer.toml"
    # The directory, since a file that is replaced would stay the old one inside. For the stop see STOP_SECONDS.
    unit ballast-balancer "$CONFIG_DIR/load-balancer.toml" "$SECRET_DIR/token" "$SECRET_DIR/redis-password" < <(
        run ballast-balancer "$STOP_SECONDS" --memory 512m --pids-limit 200 "${options[@]}" --volume "$CONFIG_DIR:/etc/ballast:ro" \
            "$lb_image" serve --config /etc/ballast/load-balancer.toml
    )
}

core() {
    local options
    [ -n "$redis_url" ] || fetch_image "$redis_image"
    fetch_image "$prometheus_image"
    fetch_image "$lb_image"
    folder /var/lib/ballast 750 "$USER_ID"
    balancer_options "$work/secrets"
    balancer_config >"$work/load-balancer.toml"
    check_config "$work/load-balancer.toml" "${options[@]}"
    keep_secrets
    retire ballast-stack
    [ -n "$redis_url" ] || redis
    balancer
    prometheus
    [ -z "$redis_url" ] || retire ballast-redis
    [ -n "$redis_url" ] || wait_for ballast-redis healthy ballast-redis
    wait_for ballast-prometheus healthy ballast-prometheus
    wait_for ballast-balancer curl --disable --noproxy '*' --fail http://127.0.0.1:9901/health
    curl --disable --silent --noproxy '*' --fail --max-time 5 --retry $READY_SECONDS --retry-delay 1 --output /dev/null \
        http://127.0.0.1:9901/ready || say 'warning: the balancer has no eligible backend yet: curl http://127.0.0.1:9901/decisions?format=json'
}

# The repository at one revision, with its docker-compose.yml and both images fetched instead of built.
full() {
    local home=/opt/ballast/${source_sum:0:12} config=deploy/compose/load-balancer.toml one n
    if [ ! -d "$home" ]; then
        say "fetching $source"
        "${CURL[@]}" --fail --location --proto '=https' --max-time 300 --output "$work/source.tar.gz" "$source" || fail 3 "$source cannot be fetched"
        sha256sum --check --status <<<"$source_sum  $work/source.tar.gz" || fail 3 'lb-source is not what lb-source-sha256 says'
        rm -rf "$home.new"
        mkdir -p "$home.new"
        tar --extract --gzip --no-same-owner --strip-components=1 --directory "$home.new" --file "$work/source.tar.gz"
        for one in docker-compose.yml "$config"; do
            [ -e "$home.new/$one" ] || fail 3 "lb-source has no $one"
        done
        # For the day when lb-config, which takes its place, is removed.
        cp "$home.new/$config" "$home.new/$config.original"
        mv "$home.new" "$home"
    fi
    cat >"$work/env" <<END
GRAFANA_PASSWORD=$(<"$work/secrets/grafana-password")
BALLAST_TOKEN=$(<"$work/secrets/token")
REDIS_PASSWORD=$(<"$work/secrets/redis-password")
END
    {
        printf 'services:\n  load-balancer: {image: "%s"}\n' "$lb_image"
        for n in 1 2 3 4 5 6; do
            printf '  backend%s: {image: "%s"}\n' "$n" "$backend_image"
        done
    } >"$work/override.yml"
    if [ -n "$lb_config" ]; then
        printf '%s\n' "$lb_config" >"$work/load-balancer.toml"
    else
        cat "$home/$config.original" >"$work/load-balancer.toml"
    fi
    docker compose --project-directory "$home" --env-file "$work/env" --file "$home/docker-compose.yml" --file "$work/override.yml" config --images |
        sort --unique >"$work/images" || fail 2 'docker-compose.yml of lb-source is refused; above is why'
    while IFS= read -r one; do
        fetch_image "$one"
    done <"$work/images"
    # What docker-compose.yml sets.
    cat >"$work/balancer.env" <<END
BALLAST_CONTROL__TOKEN=$(<"$work/secrets/token")
BALLAST_STORE__URL=redis://:$(<"$work/secrets/redis-password")@redis:6379
END
    check_config "$work/load-balancer.toml" --env-file "$work/balancer.env"
    keep_secrets
    put "$home/$config" 644 0 <"$work/load-balancer.toml"
    put "$home/.env" 600 0 <"$work/env"
    put "$home/docker-compose.override.yml" 644 0 <"$work/override.yml"
    retire ballast-balancer ballast-prometheus ballast-redis
    unit ballast-stack "$home/.env" "$home/docker-compose.override.yml" "$home/$config" <<END
# Written by the startup script of this VM, which would undo changes.
[Unit]
Description=Ballast: the whole stack of docker-compose.yml
Requires=docker.service
After=docker.service network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=true
WorkingDirectory=$home
ExecStart=/usr/bin/docker compose --project-name ballast up --detach --no-build --pull never --remove-orphans --wait --wait-timeout 300
ExecStop=/usr/bin/docker compose --project-name ballast stop
TimeoutStartSec=330
TimeoutStopSec=$((2 * STOP_SECONDS))

[Install]
WantedBy=multi-user.target
END
}

# Ends units of the other stack, whose ports are needed.
retire() {
    local name
    for name in "$@"; do
        [ ! -e "/etc/systemd/system/$name.service" ] || {
            say "ending $name"
            systemctl disable --now --quiet "$name" || true
            rm "/etc/systemd/system/$name.service"
            changed+=("$name")
        }
    done
}

main() {
    say "startup of $(hostname)"
    exec 9>/run/ballast-startup.lock
    flock --wait "$LOCK_SECONDS" 9 || fail 7 'another run of this script has not ended'
    read_settings
    secret token "$token_secret" $TOKEN_LEAST
    secret redis-password "$redis_secret" $PASSWORD_LEAST
    [ "$stack" = core ] || secret grafana-password "$grafana_secret" $PASSWORD_LEAST
    install_docker
    "$stack"
    if [ ${#changed[@]} -gt 0 ]; then
        say "done: the $stack stack is up; changed: ${changed[*]}"
    else
        say "done: the $stack stack is up; nothing has changed"
    fi
}

touch "$LOG"
chmod 640 "$LOG"
exec > >(exec tee --append "$LOG") 2>&1
# Tokens and answers pass through here, in memory, and are gone with the run.
work=$(mktemp --directory /run/ballast-startup.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'fail 1 "line $LINENO: $BASH_COMMAND"' ERR
export DOCKER_CONFIG=$work/docker DEBIAN_FRONTEND=noninteractive
main
