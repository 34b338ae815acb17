# Statistics of a web server's access log. Parameters come as a YAML file, the result is a YAML document.
require 'yaml'

def fail_with(message)
  abort "analyse_access_log: #{message}" # one line on stderr, exit status 1
end

LINE = /\A\S+ \S+ \S+ \[[^\]]+\] "(?<verb>[A-Z]+) (?<path>[^ "]+)[^"]*" (?<status>\d{3}) \S+ .*?(?<seconds>\d+\.\d+)\s*\z/.freeze

# The value below which the given share of the sorted values lies (nearest rank).
def quantile(sorted, share)
  sorted[[(share * sorted.size).ceil - 1, 0].max]
end

parameters = YAML.safe_load(File.read(ENV.fetch('ATTUNE_PARAMETERS_FILE'), encoding: 'UTF-8'))
path = parameters['path']
begin
  lines = File.readlines(File.expand_path(path, ENV.fetch('ATTUNE_PACK_DIR')), encoding: 'UTF-8', chomp: true)
rescue SystemCallError => e
  fail_with "cannot read #{path}: #{e.message.sub(/ @.*/, '')}"
end

# scrub: a log holds whatever clients sent, valid UTF-8 or not
matches = lines.map { |line| LINE.match(line.scrub) }
requests = matches.compact.map do |match|
  { verb: match[:verb], path: match[:path].sub(/\?.*/, ''), status: match[:status].to_i, seconds: match[:seconds].to_f }
end
fail_with "no line of #{path} looks like an access log" if requests.empty?
requests.reject! { |request| parameters['ignore'].include?(request[:path]) }
fail_with "every request in #{path} is to be ignored" if requests.empty?

errors = requests.count { |request| request[:status] >= 500 }
seconds = requests.map { |request| request[:seconds] }.sort
by_path = requests.group_by { |request| request[:path] }.transform_values(&:size)
top = by_path.sort_by { |name, count| [-count, name] }.first(parameters['top'])
slow = requests.select { |request| request[:seconds] > parameters['slow_seconds'] }.sort_by { |request| -request[:seconds] }

warn "#{lines.size} lines, #{requests.size} requests counted, #{errors} server errors"
top.each { |name, count| warn format('  %-24<path>s %<bar>s %<count>d', path: name, bar: '#' * [count, 40].min, count: count) }
warn "#{slow.size} slower than #{parameters['slow_seconds']} s"

puts({
  'requests' => requests.size,
  'skipped_lines' => matches.count(nil),
  'error_rate' => (errors.to_f / requests.size).round(4),
  'statuses' => requests.map { |request| request[:status].to_s }.sort.group_by(&:itself).transform_values(&:size),
  'seconds' => { 'median' => quantile(seconds, 0.5), 'p95' => quantile(seconds, 0.95), 'max' => seconds.last },
  'top_paths' => top.map { |name, count| { 'path' => name, 'requests' => count } },
  'slow' => slow.map { |request| { 'request' => "#{request[:verb]} #{request[:path]}", 'seconds' => request[:seconds] } }
}.to_yaml)
