# Called by report.py, which sets measured, results, stamp, columns (of policies and of threads) and the floors.
set datafile separator tab
set style fill solid 0.85 noborder
set style line 1 lc rgb '#1b6ca8' lw 2 pt 7
set style line 2 lc rgb '#d1603d' lw 2 pt 5
set style line 3 lc rgb '#4a8f5b' lw 2 pt 9
set style line 4 lc rgb '#8a6bb1' lw 2 pt 11
set style line 5 lc rgb '#9aa5ad' lw 2 pt 13
set grid ytics lc rgb '#dddddd'
set key below reverse Left
power_loss = 'power_loss: survives a power cut'
process_crash = 'process_crash: survives kill -9, nothing is synced'
data(name) = measured . '/' . name . '.tsv'
picture(name) = results . '/' . name . '.svg'

set terminal svg size 1200,560 font 'sans,12' background 'white' noenhanced
set logscale y
set ylabel 'microseconds (median), lower is better'

set output picture('policies')
set multiplot layout 1,3 title "Storage policies, dictionaries of 15 KB\n" . stamp
set style data histogram
set style histogram clustered gap 1
set xtics rotate by -35 nomirror
do for [durability in 'power_loss process_crash'] {
  set title value(durability)
  floor_of = value('policies_' . durability)
  plot for [i = 2:policies] data('policies-' . durability) using i:xtic(1) title columnheader ls i - 1, \
    floor_of title 'floor: one pwrite' . (durability eq 'power_loss' ? ' and fdatasync' : '') with lines lc rgb 'black' dt 2 lw 2
}
set title 'memory: survives exceptions only'
plot data('policies-memory') using 2:xtic(1) title columnheader ls 5
unset multiplot

set terminal svg size 1500,560 font 'sans,12' background 'white' noenhanced
set output picture('neighbours')
set multiplot layout 1,2 title "One save of a new key, 4 KiB\n" . stamp
set xtics norotate
set ytics nomirror
unset ylabel
unset logscale y
set xrange [0:*]
set lmargin 42
set xlabel 'microseconds (median), lower is better'
set yrange [*:*] reverse
do for [durability in 'power_loss process_crash'] {
  set title value(durability)
  set arrow 1 from value('neighbours_' . durability), graph 0 to value('neighbours_' . durability), graph 1 \
    nohead front lc rgb 'black' dt 2 lw 2
  of(who) = strcol(1)[1:5] eq 'stash' ? who eq 'stash' : who ne 'stash'
  plot data('neighbours-' . durability) using (0):0:(0):(of('stash') ? $2 : NaN):($0 - 0.35):($0 + 0.35):ytic(1) \
    title 'stash' with boxxyerror ls 1, \
    '' using (0):0:(0):(of('others') ? $2 : NaN):($0 - 0.35):($0 + 0.35) title 'others' with boxxyerror ls 5, \
    NaN title 'floor: one pwrite' . (durability eq 'power_loss' ? ' and fdatasync' : '') \
    with lines lc rgb 'black' dt 2 lw 2
}
unset multiplot
unset arrow 1
set lmargin
set xrange [*:*]

set terminal svg size 900,560 font 'sans,12' background 'white' noenhanced
set style data linespoints
set ytics auto mirror
set output picture('threads')
set title "Durable saves a second, 4 KiB, " . power_loss . "\n" . stamp
set ylabel 'saves a second (median), higher is better'
set xlabel 'threads'
unset logscale y
set logscale x 2
set yrange [0:*] noreverse
plot for [i = 2:columns] data('threads') using 1:i title columnheader ls i - 1

set terminal svg size 1200,560 font 'sans,12' background 'white' noenhanced
set output picture('keys')
set multiplot layout 1,3 title "Saves of 4 KiB, and loads of 100 bytes, by keys present\n" . stamp
set ylabel 'microseconds (median), lower is better'
set xlabel 'keys present'
set logscale x 10
set logscale y
set format x '10^%L'
set yrange [*:*] noreverse
do for [policy in 'journal files memory'] {
  set title policy . ', ' . (policy eq 'memory' ? 'survives exceptions only' : power_loss)
  plot data('keys-' . policy) using 1:'save' title 'save, 4 KiB' ls 1, '' using 1:'load' title 'load, 100 bytes' ls 2
}
unset multiplot
